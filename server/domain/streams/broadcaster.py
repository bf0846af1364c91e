"""Follow: replay from a cursor, then tail, for any number of readers of a thread.

1. Only committed events are delivered, in order, each once, from the journal or from the window.
2. There is one `Topic` per thread and replica, with a window of the newest segments bounded in bytes.
   A reader is a cursor into it: no queue and no task per reader. One that falls out of the window
   reads from the journal until it is back.
3. A tail is fed by the local journal writer when this replica drives the run; otherwise by wake-ups
   from the replica that does (ADR 0011). A wake-up is a hint: one loop per replica reads the journal,
   also when a poll finds what no wake-up told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import random
from typing import TypeVar
from uuid import UUID

from server.domain.access.stream_authorization import StreamAuthorization
from server.domain.clock import Clock
from server.domain.errors import CursorOutOfRange, DatabaseUnavailable, NotFound
from server.domain.journal.journal import JournalHead, JournalReader
from server.domain.journal.segments import Segment
from server.domain.retry import retry_while_unavailable
from server.domain.streams.topic import STEP_BYTES, Heartbeat, ReconnectElsewhere, Topic
from server.domain.streams.wakeups import Wakeups

T = TypeVar("T")

#: Seconds between two attempts of an open stream while the database is away.
_RETRY_S = 1.0
#: Threads that are read from the journal at the same time, when wake-ups or a poll tell of several.
_READS = 4


class Subscription:
    """One reader: a cursor. Made by `Broadcaster.follow`; used by one task; close it when done."""

    def __init__(
        self, tails: Broadcaster, tail: Topic, after: int, admission: StreamAuthorization | None = None
    ) -> None:
        self._tails = tails
        self.tail = tail
        #: None for the hub's own readers, who may see everything.
        self.admission = admission
        if admission is not None:
            admission.revoked = tail.wake
        #: Seq of the last event handed out.
        self.cursor = after
        self._beats = tail.beats
        self._closed = False
        self._warned = False

    @property
    def complete(self) -> bool:
        """Whether the terminal event was handed out: nothing will follow."""
        return self.tail.head.terminal and self.cursor >= self.tail.head.last_seq

    async def step(self) -> list[Segment] | Heartbeat | ReconnectElsewhere | None:
        """The next segments, a sign of life, or None when the stream is complete. Once, while this
        replica goes away, the word to go elsewhere.

        Cancellation safe: what was not returned is returned by the next call. Raises Unauthenticated,
        PermissionDenied once the reader may no longer follow.
        """
        while True:
            if self.admission is not None:
                self.admission.check()
            if self.cursor < self.tail.head.last_seq:
                segments = await self.available()
                if segments:
                    return segments
            if self.complete:
                return None
            if self._tails.drain_window_s is not None and not self._warned:
                self._warned = True
                return ReconnectElsewhere(self._tails.drain_window_s * self._tails.chance())
            if self._beats != self.tail.beats:
                self._beats = self.tail.beats
                return Heartbeat(self.tail.head.last_seq, self.tail.progress)
            await self.tail.wait()

    async def step_when_available(self) -> list[Segment] | Heartbeat | ReconnectElsewhere | None:
        """As `step`, but waits while the database is away: an open stream stays open."""
        return await self._tails.retry_while_unavailable(self.step)

    async def available(self) -> list[Segment]:
        """The next segments that are committed already, at most a step; empty when there is none.

        Raises CursorOutOfRange when they were removed meanwhile (`server.domain.journal.retention`).
        """
        segments = self.tail.after(self.cursor)
        if segments is None:
            read = await self._tails.read_after(self.tail.thread_id, self.cursor)
            if self.cursor < self.tail.head.last_seq and not (read and read[0].first_seq <= self.cursor + 1):
                await self._tails.ensure_retained(self.tail.thread_id, self.cursor)
            segments = [segment.after(self.cursor) for segment in read]
        if segments:
            self.cursor = segments[-1].last_seq
        return segments

    def close(self) -> None:
        """Let go of the tail. May be called twice."""
        if not self._closed:
            self._closed = True
            self._tails.leave(self.tail)
            if self.admission is not None:
                self.admission.close()


class Broadcaster:
    """The tails of a replica."""

    def __init__(
        self,
        journal: JournalReader,
        clock: Clock,
        *,
        is_local: Callable[[UUID], bool] = lambda thread_id: False,
        window_bytes: int = 4 << 20,
        wakeups: Wakeups | None = None,
        poll_s: float = 0.25,
        woken_poll_s: float = 1.0,
        chance: Callable[[], float] = random,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._window_bytes = window_bytes
        #: Whether the journal writer of this process commits a thread's events.
        self._is_local = is_local
        self._wakeups = wakeups
        #: Between two polls, and between two while wake-ups arrive.
        self._poll_s, self._woken_poll_s = poll_s, woken_poll_s
        #: Numbers from 0 to 1 that spread the readers of a replica that goes away.
        self.chance = chance
        #: Seconds over which readers are to leave; None while this replica stays.
        self.drain_window_s: float | None = None
        self._tails: dict[UUID, Topic] = {}
        self._left = asyncio.Event()
        #: Threads that may have news in the journal.
        self._due: set[UUID] = set()
        self._work = asyncio.Event()

    def __len__(self) -> int:
        return len(self._tails)

    @property
    def window_bytes(self) -> int:
        """Bytes that the windows of all followed threads hold."""
        return sum(tail.window_size for tail in self._tails.values())

    @property
    def readers(self) -> int:
        """Readers on this replica."""
        return sum(tail.readers for tail in self._tails.values())

    async def follow(
        self, thread_id: UUID, after: int, admission: StreamAuthorization | None = None
    ) -> Subscription:
        """A reader of the events behind `after`, as long as it is admitted; the reader closes its
        admission. Raises CursorOutOfRange, NotFound."""
        tail = self._tails.get(thread_id)
        if tail is None:
            tail = self._tails[thread_id] = Topic(thread_id, self._window_bytes)
        # Registered before the head is read: what is committed meanwhile reaches the tail.
        tail.readers += 1
        try:
            head = (await self._journal.heads([thread_id])).get(thread_id)
            if head is None:
                raise NotFound("there is no such refinement")
            tail.advance(head)
            if not head.floor - 1 <= after <= tail.head.last_seq:
                raise CursorOutOfRange(after, head.floor, tail.head.last_seq)
        except BaseException:
            self.leave(tail)
            raise
        if self._wakeups is not None and not self._is_local(thread_id) and not tail.head.terminal:
            self._wakeups.awaiting()
        return Subscription(self, tail, after, admission)

    def leave(self, tail: Topic) -> None:
        """One reader less; a tail without readers is forgotten."""
        tail.readers -= 1
        if tail.readers == 0:
            self._tails.pop(tail.thread_id, None)
            if not self._tails:
                self._left.set()

    async def drain(self, over_s: float) -> None:
        """This replica goes away: ask every reader to go elsewhere, spread over so many seconds, and
        wait for them to go, no longer than that."""
        self.drain_window_s = over_s
        self._left.clear()
        for tail in self._tails.values():
            tail.wake()
        if self._tails:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), over_s)

    def committed(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """The local journal writer committed a segment."""
        tail = self._tails.get(thread_id)
        if tail is not None:
            tail.extend(segment, head)

    def show_progress(self, thread_id: UUID, text: str) -> None:
        """The runtime told its progress."""
        tail = self._tails.get(thread_id)
        if tail is not None:
            tail.show_progress(text)

    async def ensure_retained(self, thread_id: UUID, after: int) -> None:
        """Raises CursorOutOfRange when events behind the cursor are no longer kept."""
        head = (await self._journal.heads([thread_id])).get(thread_id)
        if head is not None and after < head.floor - 1:
            raise CursorOutOfRange(after, head.floor, head.last_seq)

    async def read_after(self, thread_id: UUID, after: int) -> Sequence[Segment]:
        """A step of committed segments behind the cursor, from the journal."""
        return await self._journal.read_after(thread_id, after, max_bytes=STEP_BYTES)

    async def retry_while_unavailable(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of a reader's call, which is repeated while the database is away."""
        return await retry_while_unavailable(call, self._clock, first_s=_RETRY_S, max_s=_RETRY_S)

    # --- What other replicas commit ----------------------------------------------------------

    def awaited(self) -> Mapping[UUID, int]:
        """Threads followed here, driven elsewhere and not over, each with the last seq known here."""
        return {
            thread_id: tail.head.last_seq
            for thread_id, tail in self._tails.items()
            if not self._is_local(thread_id) and not tail.head.terminal
        }

    def hinted(self, thread_id: UUID, last_seq: int) -> None:
        """The thread's journal has come to `last_seq`: read it if that is news and anyone follows."""
        tail = self._tails.get(thread_id)
        if tail is not None and last_seq > tail.head.last_seq:
            self._due.add(thread_id)
            self._work.set()

    def received(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """A committed segment came along with the hint: take it if it joins up, else read."""
        tail = self._tails.get(thread_id)
        if tail is None or segment.last_seq <= tail.head.last_seq:
            return
        if segment.first_seq <= tail.head.last_seq + 1:
            tail.extend(segment.after(tail.head.last_seq), head)
        else:
            self.hinted(thread_id, segment.last_seq)

    def poll_interval_s(self) -> float:
        """Seconds until the next `poll`: few while wake-ups do not arrive."""
        return self._woken_poll_s if self._wakeups is not None and self._wakeups.healthy else self._poll_s

    async def poll(self) -> None:
        """Have every followed thread that is not over read again, for what no wake-up announced."""
        # Threads driven here too: another replica may have taken one over unseen.
        self._due.update(thread_id for thread_id, tail in self._tails.items() if not tail.head.terminal)
        self._work.set()

    async def catch_up_forever(self) -> None:
        """Bring what other replicas commit to the threads that are followed here."""
        while True:
            await self._work.wait()
            # After DatabaseUnavailable the next poll asks for all of them again.
            with contextlib.suppress(DatabaseUnavailable):
                await self.catch_up()

    async def catch_up(self) -> None:
        """Read the threads that may have new events now. Raises DatabaseUnavailable."""
        self._work.clear()
        due, self._due = self._due, set()
        followed = [thread_id for thread_id in due if thread_id in self._tails]
        if not followed:
            return
        heads = await self._journal.heads(followed)
        # One iterator for all readers: each takes the next thread that is left.
        left = iter(heads.items())

        async def read() -> None:
            for thread_id, head in left:
                await self._fetch(thread_id, head)

        if len(heads) == 1:
            await read()
            return
        done = await asyncio.gather(*(read() for _ in range(min(_READS, len(heads)))), return_exceptions=True)
        for fault in done:
            if isinstance(fault, BaseException):
                raise fault

    async def _fetch(self, thread_id: UUID, head: JournalHead) -> None:
        """Read what the tail lacks up to the head."""
        while (tail := self._tails.get(thread_id)) is not None and tail.head.last_seq < head.last_seq:
            segments = await self.read_after(thread_id, tail.head.last_seq)
            if not segments:
                return
            for segment in segments:
                # The journal may have gone on since the head was read: the segment knows its own end.
                tail.extend(segment, JournalHead(segment.last_seq, head.epoch, head.floor, segment.terminal))
        if tail is not None:
            tail.advance(head)

    async def send_heartbeats(self) -> None:
        """Give every reader a heartbeat."""
        for tail in list(self._tails.values()):
            tail.beat()
