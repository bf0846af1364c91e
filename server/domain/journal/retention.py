"""Retention: how long the events of runs that are over are kept (ADR 0023).

A journal is removed as a whole, some time after its run's terminal event; the proposal with its files stays.
A reader with a cursor into removed events gets an error with the floor, never a gap.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from server.domain.errors import DatabaseUnavailable

_logger = logging.getLogger(__name__)

#: Seconds between two sweeps, and maximum number of journals removed in one transaction.
SWEEP_S, BATCH_SIZE = 600.0, 50


class RetentionStore(Protocol):
    """The journals of runs that are over. Times are the store's own."""

    async def remove(self, older_than: timedelta, limit: int) -> int:
        """Delete the events of at most `limit` runs that ended longer ago than that, oldest first; returns
        the number of runs. Several replicas may do so at once."""
        ...


class Retention:
    """Removes journals `keep` after the end of their run; 0 keeps all.

    `on_removed` is called with the number of journals in each batch.
    """

    def __init__(self, store: RetentionStore, keep: timedelta, *, on_removed: Callable[[int], None]) -> None:
        self._store, self._keep, self._on_removed = store, keep, on_removed

    async def sweep(self) -> int:
        """Remove all journals that are due; returns their number.

        A batch that the database does not remove in time is tried again in smaller ones. Raises
        DatabaseUnavailable when even a single journal is not removed.
        """
        if not self._keep:
            return 0
        total, limit = 0, BATCH_SIZE
        while True:
            try:
                count = await self._store.remove(self._keep, limit)
            except DatabaseUnavailable:
                _logger.warning("retention_batch_failed: %d journals at a time", limit)
                if limit == 1:
                    raise
                limit //= 2
                continue
            total += count
            self._on_removed(count)
            if count < limit:
                return total
