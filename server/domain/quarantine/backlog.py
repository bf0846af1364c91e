"""How much waits in the quarantine, for operators."""

from __future__ import annotations

from server.domain.quarantine.store import QuarantineStore

#: Seconds between two counts.
COUNT_S = 60.0


class Backlog:
    """The frames that were not released, and their shapes, as of the last count."""

    def __init__(self, store: QuarantineStore) -> None:
        self._store = store
        self.frames = self.shapes = 0

    async def count(self) -> None:
        """Count again. Raises DatabaseUnavailable."""
        self.frames, self.shapes = await self._store.count_waiting()
