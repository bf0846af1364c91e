"""Retention: how long the events of runs that are over are kept (ADR 0023).

A journal is removed some time after its run's terminal event; the proposal with its files stays. It goes from
its beginning, in pieces of one transaction each, so that progress is made whatever its size, and what was
interrupted goes on. A reader with a cursor into removed events gets an error with the floor, never a gap.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from server.domain.errors import DatabaseUnavailable

_logger = logging.getLogger(__name__)

#: Seconds between two sweeps.
SWEEP_S = 600.0


@dataclass(frozen=True, slots=True)
class Piece:
    """What one transaction removes: events of at most `max_journals` journals, and about `max_bytes`."""

    max_journals: int = 50
    max_bytes: int = 16 << 20

    @property
    def half(self) -> Piece | None:
        """A smaller one; None when this is the smallest."""
        return Piece(self.max_journals // 2, self.max_bytes // 2) if self.max_journals > 1 else None


class RetentionStore(Protocol):
    """The journals of runs that are over. Times are the store's own."""

    async def remove(self, older_than: timedelta, piece: Piece) -> int | None:
        """Delete a piece of the events of runs that ended longer ago than that, the oldest runs and events
        first. Returns how many journals have nothing left after that; None when nothing was due.

        Several replicas may do so at once. Raises DatabaseUnavailable; nothing of the piece is deleted then.
        """
        ...


class Retention:
    """Removes journals `keep` after the end of their run; 0 keeps all.

    `on_removed` is called after each piece, with the number of journals that it emptied.
    """

    def __init__(self, store: RetentionStore, keep: timedelta, *, on_removed: Callable[[int], None]) -> None:
        self._store, self._keep, self._on_removed = store, keep, on_removed

    async def sweep(self) -> int:
        """Remove all journals that are due; returns their number.

        A piece that the database does not remove in time is tried again as smaller ones. Raises
        DatabaseUnavailable when even the smallest is not removed.
        """
        if not self._keep:
            return 0
        total, piece = 0, Piece()
        while True:
            try:
                count = await self._store.remove(self._keep, piece)
            except DatabaseUnavailable:
                _logger.warning("retention_piece_failed: %d bytes at a time", piece.max_bytes)
                smaller = piece.half
                if smaller is None:
                    raise
                piece = smaller
                continue
            if count is None:
                return total
            total += count
            self._on_removed(count)
