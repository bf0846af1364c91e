"""The fan-out: replay from a cursor, then live events, for any number of readers of a thread.

1. Only committed events are delivered, in order, each once, from the journal or from the window.
2. There is one `Topic` per thread and replica, with a window of the newest segments, and with what its
   readers read from the journal. A reader is a cursor into it: no queue and no task per reader. A reader that
   falls out of the window reads from the journal until it is back. Both are bounded for all threads together.
3. A topic is fed by the local journal writer when this replica drives the run; otherwise by wake-ups
   from the replica that does (ADR 0011). A wake-up is a hint: one loop per replica reads the journal,
   also when a poll finds what no wake-up announced.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from uuid import UUID

from server.domain.access.stream_authorization import StreamAuthorization
from server.domain.clock import Clock
from server.domain.errors import CursorOutOfRange, DatabaseUnavailable, NotFound
from server.domain.fair_budget import Reservation
from server.domain.journal.journal import JournalHead, JournalReader
from server.domain.journal.segments import Segment
from server.domain.streams.catch_up import REWIND_S, CatchUp
from server.domain.streams.legacy_tokens import LegacyTokens
from server.domain.streams.shared_memory import MAX_SHARED_BYTES, SharedMemory
from server.domain.streams.subscription import Subscription
from server.domain.streams.topic import Topic
from server.domain.streams.wakeups import PROGRESS_CHARS, Wakeups

#: Shortest time in seconds between two progress texts of a thread: each one wakes all of its readers.
PROGRESS_S = 1.0
#: Heartbeats that are written in one turn of the event loop, or those of one thread.
_HEARTBEATS_A_TURN = 200
#: The polls of which one looks at the threads that are driven here, too.
_LOCAL_EVERY = 5
#: For how long in seconds what readers of a finished thread shared is kept for the next one, and of how many
#: threads.
_UNFOLLOWED_S, _MAX_UNFOLLOWED = 60.0, 200


class Broadcaster:
    """The topics of a replica."""

    def __init__(
        self,
        journal: JournalReader,
        clock: Clock,
        *,
        is_local: Callable[[UUID], bool] = lambda thread_id: False,
        max_window_bytes: int = 4 << 20,
        max_shared_bytes: int = MAX_SHARED_BYTES,
        wakeups: Wakeups | None = None,
        legacy_tokens: LegacyTokens | None = None,
        poll_s: float = 0.25,
        woken_poll_s: float = 1.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """is_local: whether the journal writer of this process commits a thread's events.

        max_window_bytes: bound for the window of one thread. max_shared_bytes: bound for all that readers
        share (`memory`): the windows of all threads, what is read from journals, and all renderings of these.
        legacy_tokens: makes the legacy frames of tokens, where that is compiled.
        poll_s, woken_poll_s: seconds between two polls, while wake-ups do not arrive and while they do.
        jitter: numbers from 0 to 1, which spread the readers of a replica that shuts down.
        """
        self._journal = journal
        self._clock, self._is_local, self._wakeups = clock, is_local, wakeups
        self._max_window_bytes, self._legacy_tokens = max_window_bytes, legacy_tokens
        self.memory = SharedMemory(max_shared_bytes)
        self._poll_s, self._woken_poll_s = poll_s, woken_poll_s
        self._jitter = jitter
        #: Seconds over which readers are asked to leave; None until `drain`.
        self._drain_window_s: float | None = None
        #: By the ids' numbers, as below: the hash of a UUID is a function of Python's, called at each commit.
        self._topics: dict[int, Topic] = {}
        #: Finished threads that nobody follows now, oldest first; for those who come one after the other.
        self._unfollowed: dict[int, Topic] = {}
        #: Threads with a progress text that is still to be shown.
        self._unshown: dict[UUID, str] = {}
        self._empty = asyncio.Event()
        self._polls = 0
        self.catch_up = CatchUp(self._topics, journal, clock)

    def __len__(self) -> int:
        return len(self._topics)

    @property
    def shared_bytes(self) -> int:
        """Bytes that readers share: windows, what was read from journals, and renderings."""
        return self.memory.used_bytes

    @property
    def readers(self) -> int:
        """Readers on this replica."""
        return sum(topic.readers for topic in self._topics.values())

    # --- Readers -----------------------------------------------------------------------------

    async def subscribe(
        self,
        thread_id: UUID,
        after: int,
        authorization: StreamAuthorization | None = None,
        *,
        on_close: Callable[[], None] = lambda: None,
        reservation: Reservation | None = None,
    ) -> Subscription:
        """A subscription to the events after `after`, while it is authorized; without authorization, always.
        Its large steps wait for room in the reservation, if there is one.

        `on_close` is called when it is closed, and not when this raises. Raises CursorOutOfRange, NotFound,
        DatabaseUnavailable, also for a cursor beyond a journal that may soon have its newest events again.
        """
        # Registered before the head is read: what is committed meanwhile reaches the topic.
        topic = self._topics.get(thread_id.int)
        if topic is None:
            earlier = self._unfollowed.pop(thread_id.int, None)
            topic = self._topics[thread_id.int] = self._topic(thread_id) if earlier is None else earlier
        topic.readers += 1
        try:
            head = (await self._journal.heads([thread_id])).get(thread_id)
            if head is None:
                raise NotFound("no such refinement")
            topic.resume(head)
            if after > topic.head.last_seq and self._journal.seconds_since_reconnect < REWIND_S:
                raise DatabaseUnavailable(retry_after_s=1)
            if not head.floor - 1 <= after <= topic.head.last_seq:
                raise CursorOutOfRange(after, head.floor, topic.head.last_seq)
        except BaseException:
            self._leave(topic)
            raise
        if self._wakeups is not None and not self._is_local(thread_id) and not topic.head.terminal:
            self._wakeups.on_remote_thread()

        def close() -> None:
            self._leave(topic)
            on_close()

        return Subscription(
            topic,
            after,
            journal=self._journal,
            clock=self._clock,
            authorization=authorization,
            reconnect_delay_s=self._reconnect_delay_s,
            on_close=close,
            reservation=reservation,
        )

    def _topic(self, thread_id: UUID) -> Topic:
        return Topic(
            thread_id,
            self._journal,
            self.memory,
            legacy_tokens=self._legacy_tokens,
            max_window_bytes=self._max_window_bytes,
            now=self._clock.now,
        )

    def _leave(self, topic: Topic) -> None:
        """Remove a reader; a topic without readers is dropped, or set aside if its thread has ended."""
        topic.readers -= 1
        if topic.readers == 0:
            thread_id = topic.thread_id
            del self._topics[thread_id.int]
            self.catch_up.forget(thread_id)
            self._unshown.pop(thread_id, None)
            if topic.head.terminal:
                topic.unfollowed_since = self._clock.monotonic()
                self._unfollowed[thread_id.int] = topic
                self._forget_unfollowed()
            else:
                topic.clear()
            if not self._topics:
                self._empty.set()

    def _forget_unfollowed(self) -> None:
        """Drop the threads that nobody has followed for too long, or that are too many."""
        since = self._clock.monotonic() - _UNFOLLOWED_S
        for number, topic in list(self._unfollowed.items()):
            if len(self._unfollowed) <= _MAX_UNFOLLOWED and (topic.unfollowed_since or 0) > since:
                break
            self._unfollowed.pop(number).clear()

    def wake(self, thread_id: UUID) -> None:
        """Wake the readers of a thread, so that they check their state again."""
        topic = self._topics.get(thread_id.int)
        if topic is not None:
            topic.wake()

    async def send_heartbeats(self) -> None:
        """Give every reader a heartbeat."""
        written = 0
        for topic in list(self._topics.values()):
            topic.send_heartbeat()
            written += topic.readers
            if written >= _HEARTBEATS_A_TURN:
                written = 0
                await asyncio.sleep(0)

    async def drain(self, window_s: float) -> None:
        """Ask every reader to reconnect elsewhere, spread over `window_s`, and wait at most that long until
        all have left."""
        self._drain_window_s = window_s
        self._empty.clear()
        for topic in self._topics.values():
            topic.wake()
        if self._topics:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), window_s)

    def _reconnect_delay_s(self) -> float | None:
        return None if self._drain_window_s is None else self._drain_window_s * self._jitter()

    # --- What this replica commits -----------------------------------------------------------

    def on_commit(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """Deliver a segment that the local journal writer committed."""
        topic = self._topics.get(thread_id.int)
        if topic is not None:
            topic.extend(segment, head)

    def show_progress(self, thread_id: UUID, text: str) -> None:
        """Deliver the runtime's progress text, cut to PROGRESS_CHARS: at once, or with the next
        `send_progress` if another one was shown less than PROGRESS_S ago."""
        topic = self._topics.get(thread_id.int)
        if topic is None:
            return
        text, now = text[:PROGRESS_CHARS], self._clock.monotonic()
        if now - topic.progress_shown_at < PROGRESS_S:
            self._unshown[thread_id] = text
        else:
            self._unshown.pop(thread_id, None)
            topic.show_progress(text, now)

    async def send_progress(self) -> None:
        """Deliver the newest progress text of each thread that is still to be shown."""
        unshown, self._unshown = self._unshown, {}
        for thread_id, text in unshown.items():
            self.show_progress(thread_id, text)

    # --- What other replicas commit ----------------------------------------------------------

    def remote_threads(self) -> Mapping[UUID, int]:
        """The active threads that are followed here and driven elsewhere, with the last seq known here."""
        return {
            topic.thread_id: topic.head.last_seq
            for topic in self._topics.values()
            if not self._is_local(topic.thread_id) and not topic.head.terminal
        }

    def on_wakeup(self, thread_id: UUID, last_seq: int) -> None:
        """Read the thread's journal if it is followed here and `last_seq`, its end, is new."""
        topic = self._topics.get(thread_id.int)
        if topic is not None and last_seq > topic.head.last_seq:
            self.catch_up.request([thread_id])

    def on_progress(self, thread_id: UUID, text: str) -> None:
        """Deliver the progress text of a run that another replica drives."""
        if not self._is_local(thread_id):
            self.show_progress(thread_id, text)

    def on_segment(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """Deliver a segment that came with its hint if it continues the topic, else read the journal."""
        topic = self._topics.get(thread_id.int)
        if topic is None or segment.last_seq <= topic.head.last_seq:
            return
        if segment.first_seq <= topic.head.last_seq + 1:
            topic.extend(segment.after(topic.head.last_seq), head)
        else:
            self.on_wakeup(thread_id, segment.last_seq)

    def poll_interval_s(self) -> float:
        """Seconds until the next `poll`: fewer while wake-ups do not arrive."""
        return self._woken_poll_s if self._wakeups is not None and self._wakeups.healthy else self._poll_s

    async def poll(self) -> None:
        """Have every active thread that is followed read again, to find what no wake-up announced."""
        self._forget_unfollowed()
        # Threads driven here too: another replica may have taken one over unnoticed. That is found when the
        # lease is to be renewed, and seldom happens.
        self._polls += 1
        driven_here_too = self._polls % _LOCAL_EVERY == 0
        self.catch_up.request(
            topic.thread_id
            for topic in self._topics.values()
            if not topic.head.terminal and (driven_here_too or not self._is_local(topic.thread_id))
        )
