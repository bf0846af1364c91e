"""The use case of operators: frames that the hub did not understand, shown and released (ADR 0053)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID

from server.domain.errors import NotFound
from server.domain.journal.events import StateUpdate, Token, UpstreamFrame
from server.domain.journal.journal import EventCodec, JournalReader
from server.domain.journal.segments import Segment
from server.domain.off_loop import REQUESTS
from server.domain.quarantine.entries import Kept, Release
from server.domain.quarantine.meaning import event_of, is_understood
from server.domain.quarantine.shapes import shape_of
from server.domain.quarantine.store import Group, KeptFrame, QuarantineStore
from server.domain.runs.runtime import FrameInterpreter

#: Frames of one release.
MAX_FRAMES = 1000
#: Threads that a scan asks for at a time.
_SCAN_THREADS = 100
#: Bytes of one read of a journal.
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Report:
    """What the frame of a run that has ended means. understood: whether the present interpreter reads it.
    event: what would have been journalled at its place; None for nothing."""

    frame: KeptFrame
    understood: bool
    event: StateUpdate | Token | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """What a release did at once. asked: how many frames the owners of open runs release next. reports: about
    those of ended runs. more: whether frames are left for another release."""

    asked: int
    reports: Sequence[Report]
    more: bool


class Quarantine:
    """The frames of all runs that were kept uninterpreted. interpreter: makes the interpreter of one run."""

    def __init__(
        self,
        store: QuarantineStore,
        journal: JournalReader,
        codec: EventCodec,
        interpreter: Callable[[], FrameInterpreter],
    ) -> None:
        self._store, self._journal = store, journal
        self._codec, self._interpreter = codec, interpreter

    async def groups(self, *, handled: bool, limit: int) -> Sequence[Group]:
        """The shapes, those with the newest frames first. handled: also those of which no frame waits."""
        return await self._store.groups(handled=handled, limit=limit)

    async def group(self, shape_id: str) -> Group:
        """One shape. Raises NotFound."""
        group = await self._store.group(shape_id)
        if group is None:
            raise NotFound("the quarantine has no frame of this shape")
        return group

    async def frames(self, shape_id: str, *, limit: int) -> Sequence[KeptFrame]:
        """Frames of a shape, by thread and seq."""
        return await self._store.frames(shape_id, waiting=False, limit=limit)

    async def content(self, thread_id: UUID, seq: int) -> bytes:
        """A frame as it came. Raises NotFound, also for one that was removed with its journal."""
        for segment in await self._journal.read_after(thread_id, seq - 1, max_bytes=1):
            for found, event, _ in segment.entries_after(seq - 1):
                kind = self._codec.decode(event).kind
                if found == seq and isinstance(kind, UpstreamFrame):
                    return kind.body
                break
        raise NotFound("the journal no longer has this frame")

    async def release(self, shape_id: str) -> Released:
        """Interpret the frames of a shape again. Those of open runs are released by the runs' owners, each
        once; of those of ended runs, whose journals stay as they are, it is reported what they mean. Raises
        NotFound."""
        await self.group(shape_id)
        asked = await self._store.request_release(shape_id)
        waiting = await self._store.frames(shape_id, waiting=True, limit=MAX_FRAMES + 1)
        ended = [frame for frame in waiting[:MAX_FRAMES] if frame.ended]
        reports: list[Report] = []
        for thread_id, of_thread in groupby(ended, lambda frame: frame.thread_id):
            for report in await self._reports(thread_id, list(of_thread)):
                outcome = Release.REPORTED if report.understood else None
                await self._store.note(thread_id, report.frame.seq, outcome)
                reports.append(report)
        return Released(asked, reports, more=len(waiting) > MAX_FRAMES)

    async def scan(self) -> int:
        """Note the kept frames of all journals that have no note, such as those of earlier releases. Returns
        how many these were."""
        added = 0
        after: UUID | None = None
        while threads := await self._store.threads(after, _SCAN_THREADS):
            for thread_id in threads:
                added += await self._scan(thread_id)
            after = threads[-1]
        return added

    async def _scan(self, thread_id: UUID) -> int:
        added = seq = 0
        while segments := await self._journal.read_after(thread_id, seq, max_bytes=_READ_BYTES):
            for segment in segments:
                kept = await REQUESTS.run(self._kept, segment)
                if kept:
                    added += await self._store.add(thread_id, kept)
                seq = segment.last_seq
        return added

    def _kept(self, segment: Segment) -> Sequence[tuple[Kept, datetime]]:
        """The kept frames of a segment, with their times."""
        found = []
        for serialised in segment.events():
            event = self._codec.decode(serialised)
            shape = shape_of(event.kind)
            if shape is not None and isinstance(event.kind, UpstreamFrame):
                found.append((Kept(event.seq, shape, len(event.kind.body)), event.time))
        return found

    async def _reports(self, thread_id: UUID, frames: Sequence[KeptFrame]) -> Sequence[Report]:
        """What frames of an ended run mean, each in the state in which it came."""
        reader = _Reader(self._codec, self._interpreter(), {frame.seq: frame for frame in frames})
        while reader.seq < frames[-1].seq:
            segments = await self._journal.read_after(thread_id, reader.seq, max_bytes=_READ_BYTES)
            if not segments or segments[0].first_seq > reader.seq + 1:
                # The rest was removed, with what is noted about it.
                break
            for segment in segments:
                await REQUESTS.run(reader.read, segment)
        return reader.reports


class _Reader:
    """Reads a journal, and on the way interprets the frames that are asked for."""

    def __init__(self, codec: EventCodec, interpreter: FrameInterpreter, asked: dict[int, KeptFrame]) -> None:
        self._codec, self._interpreter, self._asked = codec, interpreter, asked
        self.seq = 0
        self.reports: list[Report] = []

    def read(self, segment: Segment) -> None:
        """Read the next events."""
        for seq, event, delta in segment.entries_after(self.seq):
            kind = self._codec.decode(event).kind
            frame = self._asked.get(seq)
            if frame is not None and isinstance(kind, UpstreamFrame):
                meaning = self._interpreter.reinterpret(kind.body)
                understood = is_understood(meaning)
                self.reports.append(Report(frame, understood, event_of(meaning) if understood else None))
            self._interpreter.restore(kind, delta)
        self.seq = segment.last_seq
