"""Searches: statements that read all rows of their caller when they find nothing, as hundred thousands may
be, so few of them at a time (ADR 0018)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.db.pool import ACQUIRE_S
from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.errors import LimitReached
from server.domain.fair_queue import FairQueue

#: Searches at a time, of which one caller has half: one among 100,000 rows takes up to a second, and computes
#: for as long.
SEARCHES = 2
#: Seconds after which a caller whose search had to wait for too long may try again.
SEARCH_RETRY_S = 2


class Searches:
    """The places of searches of one kind."""

    def __init__(self) -> None:
        self._places = FairQueue(SEARCHES)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place, and have it in the block. Raises LimitReached."""
        caller = on_behalf_of.get()
        try:
            async with asyncio.timeout(ACQUIRE_S):
                await self._places.take(caller)
        except TimeoutError:
            raise LimitReached("other searches are being made", retry_after_s=SEARCH_RETRY_S) from None
        try:
            yield
        finally:
            self._places.give_back(caller)
