"""What is observed of callers that are not authenticated."""

from __future__ import annotations

from typing import Protocol

#: What a caller may present, in logs and metrics.
NOTHING, TOKEN, SHARE_LINK, TICKET = PRESENTED = ("nothing", "token", "share_link", "ticket")
#: Why a caller is refused: presents nothing, or what is not valid or has expired; is disabled; has another
#: issuer's subject; may not do this (with a share link: anything but read).
MISSING, INVALID, EXPIRED, DISABLED, OTHER_ISSUER, FORBIDDEN = REASONS = (
    *("missing", "invalid", "expired"),
    *("disabled", "other_issuer", "forbidden"),
)


class RefusalObserver(Protocol):
    """Observes refusals of callers. Every method is cheap."""

    def on_refused(self, presented: str, reason: str) -> None:
        """A caller was not authenticated; `presented` is one of PRESENTED, `reason` of REASONS."""
        ...
