"""Restoring a run that is taken over from its journal: of all runs together, as much is read as the process
has room for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from uuid import UUID

from server.domain.journal.events import EventKind, FrameReason, UpstreamFrame
from server.domain.journal.journal import JournalIncomplete, SegmentTooLarge
from server.domain.journal.segments import Segment
from server.domain.off_loop import RUNS, SMALL_BYTES, to_the_end
from server.domain.runs.context import RunContext
from server.domain.runs.journal_record import JournalRecord
from server.domain.runs.lease import Lease
from server.domain.runs.runtime import FrameInterpreter, UpstreamError
from server.domain.runs.superseding import Superseding

#: Bytes of one read of the journal.
RESTORE_BYTES = 1 << 20
#: How many times a large segment is in memory: as the driver reads it, as it is, and as an event.
_COPIES = 3
#: Events of a journal that are applied in one turn of the event loop: each takes up to 30 µs.
TURN_EVENTS = 100


class Restore:
    """Applies a run's journal to what its recorder goes on with: the state of the interpreter, what is
    journalled, and which frames are superseded."""

    def __init__(
        self,
        context: RunContext,
        lease: Lease,
        interpreter: FrameInterpreter,
        journalled: JournalRecord,
        superseding: Superseding,
    ) -> None:
        self._context, self._lease = context, lease
        self._interpreter, self._journalled, self._superseding = interpreter, journalled, superseding
        self._restored_seq = 0

    async def run(self) -> None:
        """Apply the events up to the lease's last one. Continues where it stopped when it is called again
        after DatabaseUnavailable. Raises JournalIncomplete."""
        while self._restored_seq < self._lease.last_seq:
            reading = next_segments(self._context, self._lease.thread_id, self._restored_seq)
            async with reading as segments:
                for segment in segments:
                    await self._apply_segment(segment)

    async def _apply_segment(self, segment: Segment) -> None:
        entries = segment.entries_after(self._restored_seq)
        if segment.size_bytes > SMALL_BYTES:
            await to_the_end(RUNS.run(self._apply, entries))
            return
        # One run at a time, and a little of it: each event takes longer than its bytes let expect.
        async with self._context.restoring:
            while self._apply(entries, TURN_EVENTS):  # noqa: ASYNC110 - it waits for nothing
                await asyncio.sleep(0)

    def _apply(self, entries: Iterator[tuple[int, bytes, bytes]], count: int | None = None) -> bool:
        """Apply the next events, `count` of them at most. Returns whether there were so many."""
        taken = 0
        for seq, event, delta in islice(entries, count):
            kind = self._context.codec.decode(event).kind
            self._journalled.note_restored(seq, kind, delta, self._reported_by(kind))
            self._interpreter.restore(kind, delta)
            self._superseding.note(seq, kind, delta, shows_files=self._interpreter.shows_files)
            if len(event) > SMALL_BYTES:
                # Runs that are taken over together would keep more than the budget.
                self._interpreter.release_files(seq, kind)
            self._restored_seq, taken = seq, taken + 1
        return taken == count

    def _reported_by(self, kind: EventKind) -> UpstreamError | None:
        """What a journalled `error` frame reports: the event keeps the frame alone."""
        if isinstance(kind, UpstreamFrame) and kind.reason is FrameReason.ERROR_REPORT:
            return self._context.interpreter().interpret(kind.body).error
        return None


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
