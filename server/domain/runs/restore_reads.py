"""Reading the journal of a run that is taken over: of all runs together, as much as the process has room
for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

from server.domain.journal.journal import JournalIncomplete, SegmentTooLarge
from server.domain.journal.segments import Segment
from server.domain.off_loop import SMALL_BYTES
from server.domain.runs.context import RunContext

#: Bytes of one read of the journal.
RESTORE_BYTES = 1 << 20
#: How many times a large segment is in memory: as the driver reads it, as it is, and as an event.
_COPIES = 3


@asynccontextmanager
async def next_segments(context: RunContext, thread_id: UUID, after: int) -> AsyncIterator[Sequence[Segment]]:
    """The next segments of a journal, at least one; a large one has its room in the budget until the block
    ends. Small ones that follow each other are one: a run has one for each commit, and what is done a little
    at a time is done so within a segment.

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
        yield joined(segments)
    finally:
        context.budget.release(reserved_bytes)


def joined(segments: Sequence[Segment]) -> list[Segment]:
    """The same events in as few segments as keep to SMALL_BYTES, or are larger already."""
    found: list[Segment] = []
    together: list[Segment] = []
    size_bytes = 0
    for segment in segments:
        if together and size_bytes + segment.size_bytes > SMALL_BYTES:
            found.append(_one_of(together))
            together, size_bytes = [], 0
        together.append(segment)
        size_bytes += segment.size_bytes
    if together:
        found.append(_one_of(together))
    return found


def _one_of(segments: Sequence[Segment]) -> Segment:
    if len(segments) == 1:
        return segments[0]
    batch = b"".join(segment.batch for segment in segments)
    delta_batch = b"".join(segment.delta_batch for segment in segments)
    last = segments[-1]
    return Segment(segments[0].first_seq, last.last_seq, batch, delta_batch, terminal=last.terminal)
