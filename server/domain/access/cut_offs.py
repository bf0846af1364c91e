"""What is observed of clients that are cut off for what they send, or do not send."""

from __future__ import annotations

from typing import Protocol

#: Why a client is cut off, in metrics: its request came too slowly; its request was too large; it sent more
#: than it may while a stream or an answer was under way; there were too many connections; too many of its
#: calls had not sent their request; too many streams of those that need no token were open; it made too many
#: calls.
LATE_REQUEST, LARGE_REQUEST, FLOOD, CONNECTIONS, UNREAD_CALLS, PUBLIC_STREAMS, CALLS = REASONS = (
    "late_request",
    "large_request",
    "flood",
    "connections",
    "unread_calls",
    "public_streams",
    "calls",
)


class CutOffObserver(Protocol):
    """Observes clients that are cut off. Every method is cheap."""

    def on_cut_off(self, reason: str) -> None:
        """A request or a connection was ended; `reason` is one of REASONS."""
        ...
