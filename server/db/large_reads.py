"""Reads of drafts with many files: one of a caller goes on at a time (ADR 0083).

The driver makes thousands of rows of a draft's files in one step of the event loop, which takes milliseconds.
Ten readers of one account, who have as many connections, would have ten such steps follow each other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.fair_queue import FairQueue

#: Files from which on a draft has many, and drafts with many that are remembered.
MANY_FILES, MAX_REMEMBERED = 500, 10_000
#: Reads of such drafts at a time, of which a caller has half.
PLACES = 2


class LargeReads:
    """The reads of one process. A draft has many files if it had many when it was read last."""

    def __init__(self) -> None:
        self._places = FairQueue(PLACES)
        self._large: OrderedDict[UUID, None] = OrderedDict()

    @asynccontextmanager
    async def turn(self, draft_id: UUID) -> AsyncIterator[None]:
        """Wait until a draft may be read, and read it in the block."""
        if draft_id not in self._large:
            yield
            return
        async with self._places.place(on_behalf_of.get()):
            yield

    def note(self, draft_id: UUID, file_count: int) -> None:
        """A draft was read, and had so many files."""
        if file_count < MANY_FILES:
            self._large.pop(draft_id, None)
            return
        self._large[draft_id] = None
        self._large.move_to_end(draft_id)
        if len(self._large) > MAX_REMEMBERED:
            self._large.popitem(last=False)
