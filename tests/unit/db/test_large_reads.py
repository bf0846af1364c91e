"""Whose reads of drafts with many files go on."""

from __future__ import annotations

import asyncio
from contextvars import Context
from uuid import UUID

from server.db.large_reads import MANY_FILES, LargeReads
from server.domain.access.on_behalf_of import on_behalf_of

LARGE, SMALL = UUID(int=1), UUID(int=2)


class Readers:
    """Readers of drafts, who read until they may end."""

    def __init__(self) -> None:
        self.reads = LargeReads()
        self.reading: list[str] = []
        self.end = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, caller: str, draft_id: UUID, count: int = 1) -> None:
        """Begin so many reads of a caller's."""

        async def read() -> None:
            on_behalf_of.set(caller)
            async with self.reads.turn(draft_id):
                self.reading.append(caller)
                await self.end.wait()

        self._tasks += [asyncio.create_task(read(), context=Context()) for _ in range(count)]
        await asyncio.sleep(0)

    async def finish(self) -> None:
        """Let all of them end."""
        self.end.set()
        await asyncio.gather(*self._tasks)


async def test_of_a_caller_one_draft_with_many_files_is_read_at_a_time() -> None:
    readers = Readers()
    readers.reads.note(LARGE, MANY_FILES)
    await readers.begin("ann", LARGE, 10)
    await readers.begin("bob", LARGE, 10)
    assert readers.reading == ["ann", "bob"]
    await readers.begin("ann", SMALL, 10)
    assert readers.reading[2:] == ["ann"] * 10
    await readers.finish()
    assert len(readers.reading) == 30


async def test_a_draft_that_has_few_files_again_waits_no_longer() -> None:
    readers = Readers()
    readers.reads.note(LARGE, MANY_FILES)
    readers.reads.note(LARGE, MANY_FILES - 1)
    await readers.begin("ann", LARGE, 10)
    assert readers.reading == ["ann"] * 10
    await readers.finish()
