"""The pauses between connections to the runtime. Pure."""

from __future__ import annotations

from server.domain.runs.limits import RunLimits


class Backoff:
    """Pauses that double from connection to connection, and start anew after one that worked.

    A connection worked when it brought a new frame, or was open for as long as the longest pause.
    """

    def __init__(self, limits: RunLimits) -> None:
        self._limits = limits
        #: Connections in a row that did not work.
        self._failures = 0
        self._opened_at: float | None = None

    def connecting(self) -> None:
        """A connection is being opened."""
        self._opened_at = None

    def opened(self, now: float) -> None:
        """The connection is open."""
        self._opened_at = now

    def worked(self) -> None:
        """The connection brought a new frame."""
        self._failures = 0

    def next_pause_s(self, now: float) -> float:
        """The pause before the next connection."""
        limits = self._limits
        if self._opened_at is not None and now - self._opened_at >= limits.max_reconnect_s:
            self._failures = 0
        # The exponent is bounded: a float has no room for any more doublings.
        pause_s = limits.reconnect_first_s * 2.0 ** min(self._failures, 64)
        self._failures += 1
        return min(pause_s, limits.max_reconnect_s)
