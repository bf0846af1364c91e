"""What is observed of callers that are not authenticated."""

from __future__ import annotations

from typing import Protocol

#: What a caller may present, in logs and metrics.
NOTHING, TOKEN, SHARE_LINK, TICKET = PRESENTED = ("nothing", "token", "share_link", "ticket")


class RefusalObserver(Protocol):
    """Observes refusals of callers. Every method is cheap."""

    def on_refused(self, presented: str) -> None:
        """A caller was not authenticated; `presented` is one of PRESENTED."""
        ...
