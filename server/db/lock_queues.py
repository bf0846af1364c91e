"""Queues of those who lock the same row, or whatever a lock of PostgreSQL stands for, in this process.

A caller that waits for a lock of PostgreSQL has a connection meanwhile. Some callers who all wait for one
lock would have all of them, and everybody else would wait for theirs (ADR 0072). Here they wait without one,
and only the first of each process waits in PostgreSQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary

from server.db.errors import database_errors
from server.db.pool import ACQUIRE_S
from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.fair_queue import FairQueue


class LockQueues:
    """The queues for the locks of one kind, by the id of what is locked. Callers take turns."""

    def __init__(self) -> None:
        self._queues: WeakValueDictionary[UUID, FairQueue] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, locked_id: UUID) -> AsyncIterator[None]:
        """Wait for a turn, and have it in the block. Raises DatabaseUnavailable after ACQUIRE_S."""
        # The dictionary's reference is weak: this one keeps the queue until the turn is over.
        queue = self._queues.setdefault(locked_id, FairQueue(1))
        caller = on_behalf_of.get()
        with database_errors():
            async with asyncio.timeout(ACQUIRE_S):
                await queue.take(caller)
        try:
            yield
        finally:
            queue.give_back(caller)
