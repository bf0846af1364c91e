"""Frames of a run that are released from quarantine while it is driven (ADR 0053)."""

from __future__ import annotations

import asyncio
from functools import partial

from server.domain.journal.events import UpstreamFrame
from server.domain.journal.journal import JournalIncomplete
from server.domain.journal.segments import Segment
from server.domain.off_loop import RUNS
from server.domain.quarantine.entries import Release
from server.domain.runs.context import LARGE_BYTES, RunContext
from server.domain.runs.lease import Lease
from server.domain.runs.run_recorder import RunRecorder


class Releases:
    """The releases of one run under one lease. due: set when there may be some."""

    def __init__(self, context: RunContext, lease: Lease, recorder: RunRecorder, due: asyncio.Event) -> None:
        self._context, self._lease, self._recorder, self._due = context, lease, recorder, due
        #: The frames that are put back under this lease, which may not be committed yet.
        self._done: set[int] = set()

    async def release_forever(self) -> None:
        """Carry out what operators ask for. Raises LeaseLost."""
        while True:
            await self._due.wait()
            self._due.clear()
            await self._release_due()

    async def _release_due(self) -> None:
        quarantine, thread_id = self._context.quarantine, self._lease.thread_id
        due = await self._context.retry_while_unavailable(lambda: quarantine.due(thread_id))
        self._recorder.superseding.note_put_back(due.put_back)
        for seq in due.seqs:
            if seq in self._done:
                continue
            frame = await self._frame(seq)
            outcome = await self._recorder.put_back(seq, frame) if frame is not None else None
            if outcome is Release.JOURNALLED:
                # Noted with the commit of its event.
                self._done.add(seq)
            else:
                await self._context.retry_while_unavailable(partial(quarantine.note, thread_id, seq, outcome))
            await self._recorder.wait_for_capacity()

    async def _frame(self, seq: int) -> bytes | None:
        """The frame that an event keeps; None for one that is too large to be read beside the run's."""
        segments = await self._context.retry_while_unavailable(
            lambda: self._context.journal.read_after(self._lease.thread_id, seq - 1, max_bytes=1)
        )
        if not segments:
            raise JournalIncomplete(self._lease.thread_id, seq - 1)
        return await RUNS.run(self._frame_in, segments[0], seq)

    def _frame_in(self, segment: Segment, seq: int) -> bytes | None:
        for found, event, _ in segment.entries_after(seq - 1):
            if found == seq:
                kind = self._context.codec.decode(event).kind
                if isinstance(kind, UpstreamFrame) and len(kind.body) <= LARGE_BYTES:
                    return kind.body
            break
        return None
