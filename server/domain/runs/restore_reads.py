"""Reading the journal of a run that is taken over: of all runs together, as much as the process has room
for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

from server.domain.journal.journal import JournalIncomplete, SegmentTooLarge
from server.domain.journal.segments import Segment
from server.domain.runs.context import RunContext

#: Bytes of one read of the journal.
RESTORE_BYTES = 1 << 20
#: How many times a large segment is in memory: as the driver reads it, as it is, and as an event.
_COPIES = 3


@asynccontextmanager
async def next_segments(context: RunContext, thread_id: UUID, after: int) -> AsyncIterator[Sequence[Segment]]:
    """The next segments of a journal, at least one; a large one has its room in the budget until the block
    ends.

    Raises JournalIncomplete, DatabaseUnavailable.
    """
    read = partial(context.journal.read_after, thread_id, after, max_bytes=RESTORE_BYTES)
    reserved_bytes = 0
    try:
        try:
            segments = await read(max_segment_bytes=RESTORE_BYTES)
        except SegmentTooLarge as large:
            size_bytes = large.size_bytes
            await context.budget.reserve(_COPIES * size_bytes)
            reserved_bytes = _COPIES * size_bytes
            segments = await read(max_segment_bytes=size_bytes)
        if not segments:
            raise JournalIncomplete(thread_id, after)
        yield segments
    finally:
        context.budget.release(reserved_bytes)
