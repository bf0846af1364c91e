"""The pauses between connections to the runtime. Pure."""

from __future__ import annotations

from server.domain.retry import Backoff
from server.domain.runs.limits import RunLimits


class ReconnectBackoff:
    """Pauses that double from connection to connection, and start anew after one that worked.

    A connection worked when it brought a new frame, or was open for as long as the longest pause.
    """

    def __init__(self, limits: RunLimits) -> None:
        self._max_s = limits.max_reconnect_s
        first_s = min(limits.reconnect_first_s, self._max_s)
        # The rules are the same for the same history: nothing is random.
        self._backoff = Backoff(first_s, self._max_s, jitter=lambda: 0.0)
        self._opened_at: float | None = None
        #: Set when the connection brings a new frame.
        self.worked = False

    def connecting(self) -> None:
        """A connection is being opened."""
        self._opened_at = None

    def opened(self, now: float) -> None:
        """The connection is open."""
        self._opened_at = now

    def next_pause_s(self, now: float) -> float:
        """The pause before the next connection."""
        if self.worked or (self._opened_at is not None and now - self._opened_at >= self._max_s):
            self.worked = False
            self._backoff.reset()
        return self._backoff.next_pause_s()
