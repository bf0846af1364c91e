"""The use case of operators: frames that the hub did not understand, shown and released (ADR 0053)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID

from server.domain.errors import LimitReached, NotFound
from server.domain.fair_budget import Reservation
from server.domain.journal.events import StateUpdate, Token, UpstreamFrame
from server.domain.journal.journal import EventCodec, JournalReader, SegmentTooLarge
from server.domain.journal.segments import Segment
from server.domain.model import Page
from server.domain.off_loop import REQUESTS
from server.domain.quarantine.entries import Kept, Release
from server.domain.quarantine.meaning import event_of, is_understood
from server.domain.quarantine.shapes import REASONS, shape_of
from server.domain.quarantine.store import Group, KeptFrame, QuarantineStore
from server.domain.runs.runtime import FrameInterpreter

#: Bytes of journals after which a page of a release or of a scan ends.
MAX_PAGE_BYTES = 16 << 20
#: As how many bytes each journal of a scan counts besides its own.
_JOURNAL_BYTES = 16 << 10
#: Bytes of one read of a journal.
_READ_BYTES = 1 << 20
#: How many times a frame is in memory: its segment, the event, and the frame.
_COPIES = 3


@dataclass(frozen=True, slots=True)
class Report:
    """What the frame of a run that has ended means. understood: whether the present interpreter reads it.
    event: what would have been journalled at its place; None for nothing."""

    frame: KeptFrame
    understood: bool
    event: StateUpdate | Token | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """What a page of a release did. requested: how many frames the owners of open runs were asked for.
    reports: about those of ended runs. next_token: of the next page of reports; None on the last one."""

    requested: int
    reports: Sequence[Report]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a page of a scan did. added: how many frames were noted. next_token: as above."""

    added: int
    next_token: str | None


class Quarantine:
    """The frames of all runs that were kept uninterpreted. interpreter: makes the interpreter of one run.
    max_page_bytes: of journals, after which a page of a release or of a scan ends.

    All methods raise DatabaseUnavailable, and InvalidArgument for a token that their list never issued.
    """

    def __init__(
        self,
        store: QuarantineStore,
        journal: JournalReader,
        codec: EventCodec,
        interpreter: Callable[[], FrameInterpreter],
        *,
        max_page_bytes: int = MAX_PAGE_BYTES,
    ) -> None:
        self._store, self._journal = store, journal
        self._codec, self._interpreter = codec, interpreter
        self._max_page_bytes, self._busy = max_page_bytes, False

    async def groups(self, *, handled: bool, limit: int, token: str | None = None) -> Page:
        """The shapes (`Group`), those with the newest frames first. handled: also those of which no frame
        waits."""
        return await self._store.groups(handled=handled, limit=limit, token=token)

    async def group(self, shape_id: str) -> Group:
        """One shape. Raises NotFound."""
        group = await self._store.group(shape_id)
        if group is None:
            raise NotFound("the quarantine has no frame of this shape")
        return group

    async def frames(self, shape_id: str, *, limit: int, token: str | None = None) -> Page:
        """The frames of a shape (`KeptFrame`), by thread and seq. Raises NotFound."""
        page = await self._store.frames(shape_id, limit=limit, token=token)
        if not page.items:
            await self.group(shape_id)
        return page

    async def content(self, thread_id: UUID, seq: int, reservation: Reservation | None = None) -> bytes:
        """A frame as it came, which stays in the reservation. Raises NotFound for an event that does not keep
        one in quarantine, or was removed, and LimitReached without room for it."""
        head = (await self._journal.heads([thread_id])).get(thread_id)
        if head is not None and head.floor <= seq <= head.last_seq:
            for segment in await self._segments(thread_id, seq, reservation):
                frame = await REQUESTS.run(self._frame, segment, seq)
                if frame is not None:
                    return frame
        raise NotFound("the quarantine has no such frame, or its journal was removed")

    async def _segments(
        self, thread_id: UUID, seq: int, reservation: Reservation | None
    ) -> Sequence[Segment]:
        """The segment with the event, if it is there."""
        max_bytes = None if reservation is None else _READ_BYTES
        while True:
            if reservation is not None and max_bytes is not None:
                await reservation.resize(max_bytes * _COPIES)
            try:
                return await self._journal.read_after(
                    thread_id, seq - 1, max_bytes=0, max_segment_bytes=max_bytes
                )
            except SegmentTooLarge as large:
                max_bytes = large.size_bytes

    def _frame(self, segment: Segment, seq: int) -> bytes | None:
        for found, event, _ in segment.entries_after(seq - 1):
            kind = self._codec.decode(event).kind
            if found == seq and isinstance(kind, UpstreamFrame) and kind.reason in REASONS:
                return kind.body
            break
        return None

    async def release(self, shape_id: str, *, limit: int, token: str | None = None) -> Released:
        """Interpret the frames of a shape again. Those of open runs are released by the runs' owners, each
        once: the first page asks them. Of those of ended runs, whose journals stay as they are, it is
        reported what they mean; a page has at most `limit` reports.

        Raises NotFound, and LimitReached while this replica is busy with another release or scan.
        """
        with self._alone():
            await self.group(shape_id)
            requested = 0 if token else await self._store.request_release(shape_id)
            page = await self._store.frames(shape_id, reportable=True, limit=limit, token=token)
            reports: list[Report] = []
            read_bytes, last = 0, None
            for thread_id, of_thread in groupby(page.items, lambda frame: frame.thread_id):
                if last is not None and read_bytes >= self._max_page_bytes:
                    return Released(requested, reports, self._store.frame_token(last))
                frames = list(of_thread)
                found, size_bytes = await self._reports(thread_id, frames)
                for report in found:
                    outcome = Release.REPORTED if report.understood else None
                    await self._store.note(thread_id, report.frame.seq, outcome)
                reports += found
                read_bytes, last = read_bytes + size_bytes, frames[-1]
            return Released(requested, reports, page.next_token)

    async def scan(self, token: str | None = None) -> Scanned:
        """Note the kept frames of journals that have no note, such as those of earlier releases.

        Raises LimitReached as `release`.
        """
        with self._alone():
            place: tuple[UUID | None, int] = self._store.scan_place(token) if token else (None, 0)
            thread_id, seq = place
            added, left_bytes = 0, self._max_page_bytes
            while True:
                while thread_id is not None and (
                    segments := await self._journal.read_after(thread_id, seq, max_bytes=_READ_BYTES)
                ):
                    for segment in segments:
                        kept = await REQUESTS.run(self._kept, segment)
                        if kept:
                            added += await self._store.add(thread_id, kept)
                        seq = segment.last_seq
                        left_bytes -= segment.size_bytes
                    if left_bytes <= 0:
                        return Scanned(added, self._store.scan_token(thread_id, seq))
                following = await self._store.thread_after(thread_id)
                if following is None:
                    return Scanned(added, None)
                thread_id, seq = following, 0
                left_bytes -= _JOURNAL_BYTES

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """What reads many journals is done once at a time: it takes the memory of a segment of any size."""
        if self._busy:
            raise LimitReached("this replica is busy with another release or scan", retry_after_s=5)
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _kept(self, segment: Segment) -> Sequence[tuple[Kept, datetime]]:
        """The kept frames of a segment, with their times."""
        found = []
        for serialised in segment.events():
            event = self._codec.decode(serialised)
            shape = shape_of(event.kind)
            if shape is not None and isinstance(event.kind, UpstreamFrame):
                found.append((Kept(event.seq, shape, len(event.kind.body)), event.time))
        return found

    async def _reports(self, thread_id: UUID, frames: Sequence[KeptFrame]) -> tuple[Sequence[Report], int]:
        """What frames of an ended run mean, each in the state in which it came; and how many bytes were
        read."""
        reader = _Reader(self._codec, self._interpreter(), {frame.seq: frame for frame in frames})
        read_bytes = 0
        while reader.seq < frames[-1].seq:
            segments = await self._journal.read_after(thread_id, reader.seq, max_bytes=_READ_BYTES)
            if not segments or segments[0].first_seq > reader.seq + 1:
                # The rest was removed, with what is noted about it.
                break
            for segment in segments:
                entries = segment.entries_after(reader.seq)
                # Others have a turn after each frame: its interpretation begins with a copy of the state.
                while await REQUESTS.run(reader.read, entries):
                    pass
                read_bytes += segment.size_bytes
        return reader.reports, read_bytes


class _Reader:
    """Reads a journal, and on the way interprets the frames that are asked for."""

    def __init__(self, codec: EventCodec, interpreter: FrameInterpreter, asked: dict[int, KeptFrame]) -> None:
        self._codec, self._interpreter, self._asked = codec, interpreter, asked
        self.seq = 0
        self.reports: list[Report] = []

    def read(self, entries: Iterator[tuple[int, bytes, bytes]]) -> bool:
        """Read the next events, up to the first one that is interpreted. Returns whether there was one."""
        for seq, event, delta in entries:
            kind = self._codec.decode(event).kind
            frame = self._asked.get(seq)
            reports = len(self.reports)
            if frame is not None and isinstance(kind, UpstreamFrame):
                meaning = self._interpreter.reinterpret(kind.body)
                understood = is_understood(meaning)
                self.reports.append(Report(frame, understood, event_of(meaning) if understood else None))
            self._interpreter.restore(kind, delta)
            self.seq = seq
            if len(self.reports) > reports:
                return True
        return False
