"""What readers of one thread read from its journal: read once, and shared by all who come near.

Rows of the journal are cut into chunks, so that a reader who stops in the middle of one keeps little, and so
that its renderings are made in steps that hold nobody up.
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from uuid import UUID

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.journal.journal import JournalReader, SegmentTooLarge
from server.domain.journal.segments import Segment
from server.domain.streams.shared_memory import SharedMemory

#: Largest read of the journal, and largest step from here, unless a single event is larger.
READ_BYTES = 256 << 10
#: Largest chunk in bytes of its events, unless a single event is larger.
CHUNK_BYTES = 64 << 10


class History:
    """The chunks of a thread that readers have read lately."""

    def __init__(self, thread_id: UUID, journal: JournalReader, memory: SharedMemory) -> None:
        self._thread_id, self._journal, self._memory = thread_id, journal, memory
        #: In order of their first seq; there may be gaps.
        self._chunks: list[Segment] = []
        #: The read that is under way. There is one at a time: the next one may find what it read.
        self._reading: asyncio.Task[list[Segment]] | None = None

    async def read_after(self, seq: int, *, max_segment_bytes: int | None = None) -> Sequence[Segment]:
        """Committed segments after the cursor, in order and without a gap: at most a step, at least one if
        there is any. The first one may begin before the cursor.

        Raises DatabaseUnavailable, and SegmentTooLarge as `JournalReader.read_after`; not for kept chunks.
        """
        while not (found := self._chunks_after(seq)):
            reading = self._reading
            if reading is None or reading.done():
                reading = self._reading = asyncio.create_task(
                    self._read(seq, max_segment_bytes), name="journal read"
                )
                # Its error is seen there, also when all who waited for it have left.
                reading.add_done_callback(lambda done: done.cancelled() or done.exception())
                return await asyncio.shield(reading)
            # Not cancelled with this reader: others wait for it.
            with contextlib.suppress(SegmentTooLarge):
                await asyncio.shield(reading)
        # A reader that finds everything here gives the others a turn, too.
        await asyncio.sleep(0)
        return found

    async def _read(self, seq: int, max_segment_bytes: int | None) -> list[Segment]:
        await self._memory.time.take(on_behalf_of.get())
        chunks = self._chunks
        rows = await self._journal.read_after(
            self._thread_id, seq, max_bytes=READ_BYTES, max_segment_bytes=max_segment_bytes
        )
        read: list[Segment] = []
        for row in rows:
            # It may have thousands of events.
            await self._memory.time.take(on_behalf_of.get())
            read += [chunk for chunk in row.split(CHUNK_BYTES) if chunk.last_seq > seq]
        # Otherwise it was cleared meanwhile, and this may be what it was cleared of.
        return [self._keep(chunk) for chunk in read] if chunks is self._chunks else read

    def _keep(self, chunk: Segment) -> Segment:
        """Keep a chunk, unless there is one like it. Returns the one that is kept."""
        at = bisect_left(self._chunks, chunk.first_seq, key=_first_seq)
        if at < len(self._chunks) and self._chunks[at].first_seq == chunk.first_seq:
            there = self._chunks[at]
            if there.last_seq >= chunk.last_seq:
                return there
            self.drop(there)
            self._memory.remove(there)
        chunk = chunk.observed_by(self._memory.grow, self._memory.time)
        chunk.recently_read = True
        self._chunks.insert(at, chunk)
        self._memory.add(chunk, self)
        return chunk

    def _chunks_after(self, seq: int) -> list[Segment]:
        """The chunks after the cursor that are kept, up to a step."""
        found: list[Segment] = []
        size = 0
        at = bisect_right(self._chunks, seq + 1, key=_first_seq) - 1
        for chunk in self._chunks[max(at, 0) :]:
            if not chunk.first_seq <= seq + 1 <= chunk.last_seq or (found and size >= READ_BYTES):
                break
            chunk.recently_read = True
            found.append(chunk)
            size += len(chunk.batch)
            seq = chunk.last_seq
        return found

    def drop(self, item: Segment) -> None:
        """Forget a chunk, which is no longer counted."""
        at = bisect_left(self._chunks, item.first_seq, key=_first_seq)
        if at < len(self._chunks) and self._chunks[at] is item:
            del self._chunks[at]

    def clear(self) -> None:
        """Forget all chunks, also those that are being read."""
        for chunk in self._chunks:
            self._memory.remove(chunk)
        self._chunks = []
        self._reading = None


def _first_seq(chunk: Segment) -> int:
    return chunk.first_seq
