"""A subscription: one reader of a thread, as a cursor into its topic and its journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.access.stream_authorization import StreamAuthorization
from server.domain.clock import Clock
from server.domain.errors import CursorOutOfRange
from server.domain.fair_budget import Reservation
from server.domain.journal.journal import EventCodec, JournalIncomplete, JournalReader, SegmentTooLarge
from server.domain.journal.segments import Segment
from server.domain.retry import retry_while_unavailable
from server.domain.streams.legacy_tokens import Framing
from server.domain.streams.live_end import LiveForm
from server.domain.streams.steps import Heartbeat, ReconnectElsewhere, Step
from server.domain.streams.topic import Topic

#: Seconds between two attempts while the database is away.
RETRY_S = 1.0
#: Steps of at most so many bytes need no reservation: what waits for a reader counts at its connection.
SMALL_STEP_BYTES = 64 << 10
#: A step of at most so many segments needs no turn of the event loop: those that came while it was busy.
_FEW_SEGMENTS = 16
#: The copies of a step's bytes in memory at a time: the journal's, the renderer's, and the rendered one.
_COPIES = 3


class Subscription:
    """A reader's place in a thread. Made by `Broadcaster.subscribe`; used by one task; close it when done."""

    def __init__(
        self,
        topic: Topic,
        after: int,
        *,
        journal: JournalReader,
        clock: Clock,
        authorization: StreamAuthorization | None,
        reconnect_delay_s: Callable[[], float | None],
        on_close: Callable[[], None],
        reservation: Reservation | None = None,
    ) -> None:
        """authorization: None for the hub's own readers, which may see everything. reconnect_delay_s: seconds
        until this reader should reconnect elsewhere, None until the replica drains. on_close: called once.
        reservation: for what was returned and is not yet sent; None for the hub's own readers."""
        self.topic, self.authorization = topic, authorization
        self._reservation = reservation
        #: Seq of the last event that was returned.
        self.cursor = after
        self._journal, self._clock = journal, clock
        self._reconnect_delay_s, self._on_close = reconnect_delay_s, on_close
        self._heartbeats, self._rewinds = topic.heartbeats, topic.rewinds
        self._closed = False
        self._reconnect_sent = False
        #: How the reader is sent segments and heartbeats while `step` waits; None for one that gets them from
        #: `step` alone.
        self.live_form: LiveForm[Any] | None = None
        #: Seq of the last event that was sent so.
        self.sent_while_waiting = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def complete(self) -> bool:
        """Whether the terminal event was returned: nothing will follow."""
        return self.topic.head.terminal and self.cursor >= self.topic.head.last_seq

    async def step(self) -> Step:
        """The next segments, a heartbeat, or None when the stream is complete. ReconnectElsewhere is returned
        once, when this replica shuts down.

        The reader has sent what it returned before. A large step waits until there is room for it in
        memory. Safe to cancel: the next call returns what this one did not. Raises Unauthenticated,
        PermissionDenied when the reader may no longer follow, CursorOutOfRange, DatabaseUnavailable.
        """
        if self._reservation is not None and self._reservation.asked_bytes:
            self._reservation.close()
        while True:
            if self.authorization is not None:
                self.authorization.check()
            if self._rewinds != self.topic.rewinds:
                self._check_rewound()
            if self.cursor < self.topic.head.last_seq:
                segments = self._small_step() or await self.available()
                if segments:
                    return segments
            if self.complete:
                return None
            delay_s = None if self._reconnect_sent else self._reconnect_delay_s()
            if delay_s is not None:
                self._reconnect_sent = True
                return ReconnectElsewhere(delay_s)
            if self._heartbeats != self.topic.heartbeats:
                self._heartbeats = self.topic.heartbeats
                return Heartbeat(self.topic.head.last_seq, self.topic.progress)
            await self._wait()

    async def _wait(self) -> None:
        """Wait until there is something to return."""
        live_end, form = self.topic.live_end, self.live_form
        ends_at = None if self.authorization is None else self.authorization.ends_at
        if form is None or not live_end.join(self, form, self.cursor, self._heartbeats, ends_at):
            await self.topic.wait()
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            live_end.leave(self, form)

    def leave_live_end(self, seq: int, heartbeats: int) -> asyncio.Future[None]:
        """As in `LiveReader`."""
        assert self._waiter is not None
        self.cursor = self.sent_while_waiting = seq
        self._heartbeats = heartbeats
        return self._waiter

    def _small_step(self) -> list[Segment] | None:
        """The next segments of the window if they need neither a reservation nor a turn: the usual step at
        the live end."""
        segments = self.topic.segments_after(self.cursor)
        if not segments or len(segments) > _FEW_SEGMENTS or _size_bytes(segments) > SMALL_STEP_BYTES:
            return None
        self.cursor = segments[-1].last_seq
        return segments

    def _check_rewound(self) -> None:
        """Raises CursorOutOfRange when the database has lost events that this reader has."""
        self._rewinds = self.topic.rewinds
        head = self.topic.head
        if self.cursor > head.last_seq:
            raise CursorOutOfRange(self.cursor, head.floor, head.last_seq)

    async def step_when_available(self) -> Step:
        """As `step`, but waits while the database is away: an open stream stays open."""
        return await retry_while_unavailable(self.step, self._clock, first_s=RETRY_S, max_s=RETRY_S)

    async def available(self) -> list[Segment]:
        """The next segments that are already committed, at most one step; empty when there are none.

        Waits for a turn of the event loop: a reader that finds everything here, and takes it fast, would not
        let the others go on. What this reader has in use stays so. Raises CursorOutOfRange when they were
        removed meanwhile (`server.domain.journal.retention`), LimitReached when there was no room for them.
        """
        await self.topic.time.take(on_behalf_of.get())
        if self.authorization is not None:
            self.authorization.check()
        reservation = self._reservation
        used = self.reserved_bytes
        reserved = SMALL_STEP_BYTES
        while True:
            segments, size = await self._available(reserved)
            if reservation is None or (
                segments is not None and (size <= reserved or reservation.resize_now(used + size * _COPIES))
            ):
                break
            # Nothing is kept while it waits.
            segments = None
            await reservation.resize(used + size * _COPIES)
            reserved = size
            if self.authorization is not None:
                self.authorization.check()
        assert segments is not None, "a read without a limit gives segments"
        if segments:
            self.cursor = segments[-1].last_seq
        return segments

    async def _available(self, max_segment_bytes: int) -> tuple[list[Segment] | None, int]:
        """The next segments and their bytes. For a reader with a reservation None if the first is larger."""
        segments = self.topic.segments_after(self.cursor)
        if segments is None:
            limit = None if self._reservation is None else max_segment_bytes
            try:
                read = await self.topic.history.read_after(self.cursor, max_segment_bytes=limit)
            except SegmentTooLarge as large:
                return None, large.size_bytes
            if self.cursor < self.topic.head.last_seq and not (read and read[0].first_seq <= self.cursor + 1):
                await self._ensure_retained(self.cursor)
            segments = [segment.after(self.cursor) for segment in read]
        return segments, _size_bytes(segments)

    def legacy_pieces(
        self, segment: Segment, codec: EventCodec, framing: Framing
    ) -> AsyncIterator[tuple[bytes, int]]:
        """The legacy frames of a segment's events, as `LegacyFrames.pieces`."""
        return self.topic.legacy_frames(codec).pieces(segment, framing, self)

    def legacy_at_hand(self, segment: Segment, codec: EventCodec, framing: Framing) -> bytes | None:
        """As `LegacyFrames.at_hand`."""
        return self.topic.legacy_frames(codec).at_hand(segment, framing)

    @property
    def reserved_bytes(self) -> int:
        """What this reader has in use."""
        return 0 if self._reservation is None else self._reservation.asked_bytes

    def reserve_now(self, size_bytes: int) -> bool:
        """Have so many bytes in use. Returns whether there is room."""
        return self._reservation is None or self._reservation.resize_now(size_bytes)

    async def reserve(self, size_bytes: int) -> None:
        """Give back what is in use, and have so many bytes in use once there is room. Raises Unauthenticated,
        PermissionDenied when the reader may no longer follow."""
        if self._reservation is not None:
            self._reservation.close()
            await self._reservation.resize(size_bytes)
        if self.authorization is not None:
            self.authorization.check()

    async def read_when_available(
        self, after: int, *, max_segment_bytes: int | None = None
    ) -> Sequence[Segment]:
        """The thread's segments after a cursor that is not its end, from the journal: at most one step.

        Waits while the database is away. Raises CursorOutOfRange when they were removed meanwhile,
        JournalIncomplete when there are none, and SegmentTooLarge as `History.read_after`.
        """
        read = partial(self._read_some, after, max_segment_bytes)
        return await retry_while_unavailable(read, self._clock, first_s=RETRY_S, max_s=RETRY_S)

    async def _read_some(self, after: int, max_segment_bytes: int | None) -> Sequence[Segment]:
        read = await self.topic.history.read_after(after, max_segment_bytes=max_segment_bytes)
        if not (read and read[0].first_seq <= after + 1):
            await self._ensure_retained(after)
            raise JournalIncomplete(self.topic.thread_id, after)
        return read

    async def _ensure_retained(self, after: int) -> None:
        """Raises CursorOutOfRange when events after a cursor are no longer kept."""
        thread_id = self.topic.thread_id
        head = (await self._journal.heads([thread_id])).get(thread_id)
        if head is not None and after < head.floor - 1:
            raise CursorOutOfRange(after, head.floor, head.last_seq)

    def close(self) -> None:
        """Leave the topic. May be called twice."""
        if not self._closed:
            self._closed = True
            self._on_close()


def _size_bytes(segments: Sequence[Segment]) -> int:
    """Bytes of events and deltas."""
    size = 0
    for segment in segments:
        size += len(segment.batch) + len(segment.delta_batch)
    return size
