"""Retention: how long the events of runs that are over are kept (ADR 0023).

A journal is removed whole, some time after its run's terminal event; what the run made, its proposal with the
files, stays. Whoever comes with a cursor into what is gone is told so, with the floor, and never gets a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from server.domain.clock import Clock
from server.domain.errors import DatabaseUnavailable

#: Between two looks, in seconds, and most journals removed in one transaction.
LOOK_S, REMOVED_AT_ONCE = 600.0, 50


class RetentionStore(Protocol):
    """The journals of runs that are over. Times are the store's own."""

    async def remove(self, older_than: timedelta, limit: int) -> int:
        """Remove the events of at most `limit` runs that ended so long ago, oldest first; how many. Safe
        on several replicas at once."""
        ...


class Retention:
    """Removes journals whose time is over. `removed` is told how many, each time."""

    def __init__(
        self, store: RetentionStore, clock: Clock, keep: timedelta, *, removed: Callable[[int], None]
    ) -> None:
        self._store, self._clock, self._keep, self._removed = store, clock, keep, removed

    async def look(self) -> int:
        """Remove all that are due; how many. Raises DatabaseUnavailable."""
        total = 0
        while True:
            count = await self._store.remove(self._keep, REMOVED_AT_ONCE)
            total += count
            self._removed(count)
            if count < REMOVED_AT_ONCE:
                return total

    async def look_forever(self) -> None:
        """Look now and then."""
        while self._keep:
            await self._clock.sleep(LOOK_S)
            try:
                await self.look()
            except DatabaseUnavailable:
                continue
