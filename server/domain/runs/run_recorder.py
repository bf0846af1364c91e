"""The journal of a run as its driver writes it: what the frames mean, in order, and the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta

from server.domain.crash_points import crash_point
from server.domain.journal.events import (
    Discontinuity,
    DiscontinuityReason,
    Event,
    EventKind,
    FrameReason,
    InputAnswered,
    InputRequested,
    Outcome,
    RunStarted,
    Terminal,
    UpstreamFrame,
)
from server.domain.model import Failure
from server.domain.off_loop import RUNS, SMALL_BYTES, to_the_end
from server.domain.proposals.files import File
from server.domain.proposals.partition import partition_files
from server.domain.quarantine.entries import Kept, PutBack, QuarantineEntry, Release
from server.domain.runs.actions import JournalFacts, Verdict
from server.domain.runs.context import LARGE_BYTES, RunContext
from server.domain.runs.frame_worker import FrameNotRead, FramePlace, FrameWorker
from server.domain.runs.interpreter_memory import InterpreterMemory
from server.domain.runs.journal_entries import JournalEntry, entry_of
from server.domain.runs.journal_record import JournalRecord
from server.domain.runs.lease import Lease
from server.domain.runs.quick_frames import QuickFrames
from server.domain.runs.released_files import all_files
from server.domain.runs.replies import Reply
from server.domain.runs.restore import Restore
from server.domain.runs.runtime import Interpretation, OversizedFrame, UpstreamError
from server.domain.runs.superseding import Superseding
from server.domain.webhooks.events import OutboxEvent, input_requested
from server.domain.worker import WorkerMissing


@dataclass(frozen=True, slots=True)
class LargeFrame:
    """A frame that was interpreted beside the event loop. seq, entries: of its events, if the worker has made
    their entries."""

    meaning: Interpretation
    seq: int = 0
    entries: tuple[JournalEntry, ...] = ()


class RunRecorder:
    """Records one run under one lease: interprets its frames, and queues their events to be committed."""

    def __init__(self, context: RunContext, lease: Lease) -> None:
        self._context, self._lease = context, lease
        self._log = context.journal.open(lease)
        self._interpreter = context.interpreter()
        self._quick = QuickFrames()
        self._memory = InterpreterMemory(context.budget, self._interpreter, self._quick)
        self.journalled = JournalRecord(self._interpreter, epoch=lease.epoch)
        left_s = context.limits.max_duration_s - lease.age_s
        #: When the run's time is over, by this replica's clock.
        self._expires_at = context.clock.now() + timedelta(seconds=left_s)
        #: Held while a large frame, or files without a frame, are interpreted and their events queued.
        self.exclusive = asyncio.Lock()
        self.superseding = Superseding()
        self._restore = Restore(context, lease, self._interpreter, self.journalled, self.superseding)
        #: The facts before the frame that is interpreted in a thread.
        self._facts_before: JournalFacts | None = None

    @property
    def facts(self) -> JournalFacts:
        """What the journal holds, as of the last event put."""
        return self._facts_before or self.journalled.facts()

    def begin(self) -> None:
        """Journal the start of a run that was queued, unless it is journalled. Raises LeaseLost."""
        if not self._lease.last_seq:
            lease = self._lease
            self._put(RunStarted(lease.thread_id, lease.proposal_id, lease.workflow_id))

    async def restore(self) -> None:
        """Read what the journal has already, to continue after it; as `Restore.run`."""
        await self._restore.run()
        self._memory.count_restored()

    def interpret(self, frame: bytes) -> Interpretation:
        """What the next frame means; `record` journals it."""
        if len(frame) <= SMALL_BYTES:
            return self._interpreter.interpret(frame)
        return self._interpret_noting_time(frame)

    def _interpret_noting_time(self, frame: bytes) -> Interpretation:
        began_s = time.thread_time()
        meaning = self._interpreter.interpret(frame)
        self._quick.note(frame, time.thread_time() - began_s)
        return meaning

    async def shrink_memory(self, meaning: Interpretation) -> None:
        """Release what the budget has no room for, after a quick frame that is not a small one."""
        first_seq = self._log.last_seq - len(meaning.kinds) + 1
        for seq, kind in enumerate(meaning.kinds, start=first_seq):
            await self._memory.shrink_to_budget(seq, kind)

    def record(self, meaning: Interpretation) -> None:
        """Journal what a frame means. Raises LeaseLost."""
        delta = meaning.delta
        for kind in meaning.kinds:
            self._put(kind, delta, meaning.error)
            delta = b""
        self._note_shown(meaning)

    @property
    def takes_frames(self) -> bool:
        """Whether frames may be journalled at once: not while much is queued, or a large one is interpreted
        elsewhere."""
        return not (self._log.is_full or self.exclusive.locked())

    def record_tokens(self, frames: Sequence[bytes | OversizedFrame], start: int) -> tuple[int, bool]:
        """While `takes_frames`: interpret and journal the frames from `start` on, as far as they are tokens
        that `FrameInterpreter.token_entries` takes. Returns how many they are, and whether the epoch before
        does not have all of them. Raises LeaseLost."""
        log, journalled = self._log, self.journalled
        epoch = journalled.epoch
        tokens = self._interpreter.token_entries(
            frames, start, log.last_seq + 1, epoch, self._context.clock.now()
        )
        if tokens is None:
            return 0, False
        count, events, deltas, digests = tokens
        log.put_all(events, deltas, count, epoch)
        self.superseding.token_seq = log.last_seq
        return count, journalled.note_tokens(digests)

    def record_files(self, frame: bytes) -> bool | None:
        """While `takes_frames`: interpret and journal a state frame that `FrameInterpreter.files_entry`
        takes, if there is room for what is kept of it. Returns whether the epoch before does not have it;
        None if it is not taken. Raises LeaseLost."""
        large = len(frame) > SMALL_BYTES
        if large and not (self._quick.last_was_quick and self._memory.has_room_after(frame)):
            return None
        seq, epoch = self._log.last_seq + 1, self.journalled.epoch
        entry = self._interpreter.files_entry(frame, seq=seq, epoch=epoch, time=self._context.clock.now())
        if entry is None:
            return None
        self._log.put(entry.event, entry.delta, epoch=epoch, file_changes=entry.file_changes)
        self.superseding.note_files(seq)
        self.journalled.note_files(entry.digest)
        if large:
            self._quick.note(frame, 0.0)
            self._memory.count()
        return self.journalled.is_new((entry.digest,))

    def count_memory(self) -> bool:
        """Count what is kept of the frames. Returns whether the budget has room for it."""
        return self._memory.count()

    def is_quick(self, frame: bytes) -> bool:
        """Whether the next frame is interpreted in the event loop itself."""
        # A state that is kept as bytes has to be read first, and nothing may change it while it is copied.
        return (
            not self._interpreter.stored
            and not self.exclusive.locked()
            and self._quick.includes(frame, self._interpreter.changed_bytes)
        )

    def is_quick_now(self, frame: bytes) -> bool:
        """The same, and whether there is room for what is kept of it, so that nothing has to be released."""
        return (len(frame) <= SMALL_BYTES or self._memory.has_room_after(frame)) and self.is_quick(frame)

    async def interpret_large(self, frame: bytes, *, after_gap: bool) -> LargeFrame:
        """As `interpret`, off the event loop. after_gap: a discontinuity comes before it in the journal.
        Until it ends, nothing else may be asked of the recorder but `facts`."""
        self._facts_before = self.journalled.facts()
        try:
            if self._context.worker is not None and len(frame) > LARGE_BYTES:
                return await self._interpret_in_worker(self._context.worker, frame, after_gap)
            return LargeFrame(await RUNS.run(self._interpret_noting_time, frame))
        finally:
            self._facts_before = None

    async def _interpret_in_worker(self, worker: FrameWorker, frame: bytes, after_gap: bool) -> LargeFrame:
        state, calls = await RUNS.run(self._interpreter.dump)
        place = FramePlace(
            self._log.last_seq + 1 + after_gap,
            self.journalled.epoch + after_gap,
            self._context.clock.now(),
            self._expires_at,
            self._memory.room_bytes,
        )
        try:
            found = await worker.interpret(state, calls, frame, place)
        except WorkerMissing:
            return LargeFrame(await RUNS.run(self._interpret_noting_time, frame))
        except FrameNotRead:
            return LargeFrame(await RUNS.run(self._interpreter.keep, frame))
        await RUNS.run(self._interpreter.advance, found.change)
        return LargeFrame(found.meaning, place.seq, found.entries)

    async def record_large(self, frame: LargeFrame) -> None:
        """As `record`, for a frame that was interpreted off the event loop."""
        meaning = frame.meaning
        delta = meaning.delta
        for index, kind in enumerate(meaning.kinds):
            entry = frame.entries[index] if frame.entries else None
            assert entry is None or self._log.last_seq + 1 == frame.seq + index
            await self._put_large(kind, delta, meaning.error, entry)
            delta = b""
        self._note_shown(meaning)

    @property
    def is_full(self) -> bool:
        """Whether much is queued."""
        return self._log.is_full

    async def wait_for_capacity(self) -> None:
        """Wait while much is queued. Raises LeaseLost."""
        await self._log.wait_for_capacity()

    async def put_back(self, seq: int, frame: bytes) -> Release | None:
        """Journal what the kept frame of the event `seq` means now; what became of it, None if it is still
        not understood. Its event comes without the frame, which the journal has already. Raises LeaseLost."""
        async with self.exclusive:
            await self._load()
            # It begins with a copy of the state, which may have a hundred thousand files.
            meaning = await to_the_end(RUNS.run(self._interpreter.reinterpret, frame))
            outcome, kind = self.superseding.left_of(seq, meaning)
            if kind is None:
                return outcome
            at = self._log.last_seq + 1
            self.superseding.note_put_back([at])
            self._queue(kind, self._entry(kind), b"", None, PutBack(seq, at))
            self._interpreter.restore(kind, b"")
        return outcome

    def put_further_end(self, frame: bytes) -> None:
        """Journal an `end` frame that came behind the one that the terminal event stands for."""
        self._put(UpstreamFrame("end", FrameReason.AFTER_END, frame))

    async def adopt(self, files: Mapping[str, File], *, complete: bool, after_gap: bool = False) -> None:
        """Journal files that came without a frame.

        complete: they are all files, unless none of them can be read, or the frames have shown others beside
        an unreadable one; otherwise those at other paths stay. after_gap: a discontinuity comes before them,
        if they differ.
        """
        await self._load()
        partly_read = bool(self._interpreter.files.unread) and self.facts.files_known
        complete = complete and not partly_read and not all(file.unreadable for file in files.values())
        await to_the_end(self._adopt(files, complete=complete, after_gap=after_gap))

    async def _adopt(self, files: Mapping[str, File], *, complete: bool, after_gap: bool) -> None:
        large = sum(len(file.content) for file in files.values()) > LARGE_BYTES
        async with self._context.large_work if large else nullcontext(), self.exclusive:
            kinds = await RUNS.run(self._interpreter.adopt, files, complete=complete)
            if kinds and after_gap:
                self.put_discontinuity(DiscontinuityReason.RECONNECTED)
            for kind in kinds:
                await self._put_large(kind)

    def put_discontinuity(self, reason: DiscontinuityReason) -> None:
        """Journal that the events before and after may not join up: a new epoch begins."""
        self.journalled.begin_epoch()
        self._put(Discontinuity(reason))
        self._context.observer.discontinued(self._lease, reason)
        crash_point("discontinuity")

    async def answer(self, reply: Reply) -> None:
        """Journal that a person has answered the last question. The runtime's next stream begins with the
        frames that come after the answer."""
        await self._load()
        kind = InputAnswered(reply.seq, reply.input_id, reply.user_id, reply.decisions)
        self.journalled.begin_answer()
        self._put(kind)
        self._interpreter.restore(kind, b"")

    async def flush(self) -> None:
        """Wait until everything is committed. Raises LeaseLost."""
        await self._log.flush()

    def abandon(self) -> None:
        """Drop what is not committed: nothing more is written under this lease."""
        self._log.mark_lost()

    def close(self) -> None:
        """Give back what the run has in use of the budget: no more frames come."""
        self._memory.close()

    async def finish(self, verdict: Verdict) -> None:
        """Commit terminal event, files and status together. Raises LeaseLost."""
        await self._load()
        large = self._interpreter.size_bytes + self._log.put_bytes > LARGE_BYTES
        async with self._context.large_work if large or self._interpreter.released_files else nullcontext():
            await self._finish(verdict)
            if large:
                # Otherwise the event loop would, in one call.
                await RUNS.run(self._interpreter.drop_files)

    async def _finish(self, verdict: Verdict) -> None:
        found = await all_files(self._context, self._log, self._interpreter)
        files = await RUNS.run_unless_small(found.sizes, partition_files, found)
        terminal = Terminal(verdict.outcome, verdict.reason, verdict.message, len(files.kept))
        completed = verdict.outcome is Outcome.COMPLETED
        await self._context.journal.finish(
            self._log,
            self._context.codec.encode(self._event(terminal)),
            verdict.delta,
            outcome=verdict.outcome,
            files=files,
            failure=None if completed else Failure(verdict.reason, verdict.message),
        )

    def _put(self, kind: EventKind, delta: bytes = b"", error: UpstreamError | None = None) -> None:
        self._queue(kind, self._entry(kind), delta, error)

    async def _put_large(
        self,
        kind: EventKind,
        delta: bytes = b"",
        error: UpstreamError | None = None,
        entry: JournalEntry | None = None,
    ) -> None:
        if entry is None:
            entry = await RUNS.run(entry_of, self._event(kind), self._context.codec)
        self._queue(kind, entry, delta, error)
        await self._memory.shrink_to_budget(self._log.last_seq, kind)

    def _queue(
        self,
        kind: EventKind,
        entry: JournalEntry,
        delta: bytes,
        error: UpstreamError | None,
        quarantine: QuarantineEntry | None = None,
    ) -> None:
        seq = self._log.last_seq + 1
        self.superseding.note(seq, kind, delta, shows_files=self._interpreter.shows_files)
        self.journalled.note(seq, kind, delta, error)
        if entry.shape is not None and isinstance(kind, UpstreamFrame):
            quarantine = Kept(seq, entry.shape, len(kind.body))
        self._log.put(
            entry.event,
            delta,
            epoch=self.journalled.epoch,
            file_changes=entry.file_changes,
            outbox=self._outbox_event(kind),
            quarantine=quarantine,
        )

    def _outbox_event(self, kind: EventKind) -> OutboxEvent | None:
        """What webhooks report of the next event."""
        if not isinstance(kind, InputRequested):
            return None
        return input_requested(self._lease.proposal_id, seq=self._log.last_seq + 1)

    def _note_shown(self, meaning: Interpretation) -> None:
        self.journalled.note_shown(meaning)
        for kind in meaning.kinds:
            if isinstance(kind, UpstreamFrame):
                self._context.observer.uninterpreted(self._lease, kind.reason)

    def _event(self, kind: EventKind) -> Event:
        if isinstance(kind, InputRequested):
            kind = replace(kind, expires_at=self._expires_at)
        return Event(self._log.last_seq + 1, self.journalled.epoch, self._context.clock.now(), kind)

    def _entry(self, kind: EventKind) -> JournalEntry:
        return entry_of(self._event(kind), self._context.codec)

    async def _load(self) -> None:
        """Read the state of the interpreter if it is kept as bytes."""
        if self._interpreter.stored:
            await to_the_end(RUNS.run(self._interpreter.load))
