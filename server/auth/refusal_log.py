"""The log of refused callers: one entry for each kind of refusal and minute, however many there are.

A caller who guesses tokens cannot fill the log. The metric counts every refusal.
"""

from __future__ import annotations

from collections import Counter

import structlog

from server.domain.clock import Clock
from server.domain.errors import PermissionDenied, Unauthenticated

#: Seconds in which a kind of refusal is logged once.
QUIET_S = 60.0

_log = structlog.stdlib.get_logger("server.auth")


class RefusalLog:
    """Logs refusals, without what was presented. The kinds are few: both parts are from closed sets."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logged_at: dict[tuple[str, str], float] = {}
        self._unlogged: Counter[tuple[str, str]] = Counter()

    def add(self, error: Unauthenticated | PermissionDenied, *, presented: str) -> None:
        """A caller was refused with the error. `more`: refusals of the kind since its last entry."""
        kind, now = (presented, error.reason), self._clock.monotonic()
        if now < self._logged_at.get(kind, float("-inf")) + QUIET_S:
            self._unlogged[kind] += 1
            return
        self._logged_at[kind] = now
        _log.info(
            "authentication_refused",
            presented=presented,
            reason=error.reason,
            why=error.message,
            more=self._unlogged.pop(kind, 0),
        )
