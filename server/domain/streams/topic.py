"""The live end of a thread on one replica: a window of its newest segments, and a signal to its readers."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from datetime import datetime
from functools import partial
from math import inf
from uuid import UUID

from server.domain.journal.journal import EventCodec, JournalHead, JournalReader
from server.domain.journal.segments import Segment
from server.domain.streams.history import History
from server.domain.streams.legacy_frames import LegacyFrames
from server.domain.streams.legacy_tokens import LegacyTokens
from server.domain.streams.live_end import LiveEnd
from server.domain.streams.shared_memory import SharedMemory
from server.domain.streams.steps import Heartbeat

#: Largest step from a window in bytes, unless a single segment is larger, and its most segments: each costs a
#: few microseconds.
STEP_BYTES, STEP_SEGMENTS = 1 << 20, 128


class Topic:
    """The live end of one thread on this replica, and what its readers share."""

    def __init__(
        self,
        thread_id: UUID,
        journal: JournalReader,
        memory: SharedMemory,
        *,
        legacy_tokens: LegacyTokens | None,
        max_window_bytes: int,
        now: Callable[[], datetime],
    ) -> None:
        self.thread_id = thread_id
        self.head = JournalHead(0, 1, 1, False)
        #: Number of subscriptions.
        self.readers = 0
        #: Number of heartbeats so far.
        self.heartbeats = 0
        #: How often the journal was found to end before what readers had.
        self.rewinds = 0
        #: Since when it is without readers, so that nobody looks for new events; None while it has some.
        self.unfollowed_since: float | None = None
        #: The runtime's newest progress text, and when it was shown.
        self.progress = ""
        self.progress_shown_at = -inf
        #: What readers that are not at the live end read from the journal.
        self.history = History(thread_id, journal, memory)
        self._legacy_frames: LegacyFrames | None = None
        self._legacy_tokens = legacy_tokens
        self._memory = memory
        #: In which readers that catch up are served, and those that wait are woken.
        self.time, self._wakes = memory.time, memory.wakes
        self._window: deque[Segment] = deque()
        self._max_window_bytes = max_window_bytes
        self._window_bytes = 0
        #: Readers that wait, and get segments meanwhile.
        self.live_end = LiveEnd(now, partial(self._wakes.wake, thread_id))
        #: One for each other reader that waits, and those of readers that have left meanwhile.
        self._waiting: list[asyncio.Future[None]] = []

    def legacy_frames(self, codec: EventCodec) -> LegacyFrames:
        """What readers of legacy frames share."""
        if self._legacy_frames is None:
            self._legacy_frames = LegacyFrames(codec, self._memory, self._legacy_tokens)
        return self._legacy_frames

    @property
    def window_bytes(self) -> int:
        """Bytes that the window holds."""
        return self._window_bytes

    def extend(self, segment: Segment, head: JournalHead) -> None:
        """Add the next committed segment to the window, and give it to the readers that wait."""
        window = self._window
        if window:
            last_seq = window[-1].last_seq
            if last_seq >= segment.last_seq:
                return
            if last_seq + 1 != segment.first_seq:
                self._clear_window()
        segment = segment.observed_by(self._on_grow, self.time)
        window.append(segment)
        self._window_bytes = window_bytes = self._window_bytes + segment.size_bytes
        self._memory.add(segment, self)
        if window_bytes > self._max_window_bytes:
            self._limit_window()
        if self._adopt(head):
            self.live_end.send(segment)
            if self._waiting:
                self._wake_others()

    def _on_grow(self, segment: Segment, size: int) -> None:
        # A reader may still render a segment that has left the window.
        if self._memory.holds(segment):
            self._window_bytes += size
            self._memory.grow(segment, size)
            self._limit_window()

    def _limit_window(self) -> None:
        while self._window_bytes > self._max_window_bytes and len(self._window) > 1:
            self._drop_first()

    def _drop_first(self) -> None:
        segment = self._window.popleft()
        self._window_bytes -= segment.size_bytes
        self._memory.remove(segment)

    def drop(self, item: Segment) -> None:
        """Forget a segment of the window, which is no longer counted, and all before it: it has no gaps."""
        while self._window and self._window[0].first_seq <= item.first_seq:
            self._drop_first()

    def _clear_window(self) -> None:
        while self._window:
            self._drop_first()

    def clear(self) -> None:
        """Forget everything that is kept for readers; they read the journal again."""
        self._clear_window()
        self.history.clear()
        if self._legacy_frames is not None:
            self._legacy_frames.clear()
            self._legacy_frames = None

    def advance(self, head: JournalHead) -> None:
        """Adopt a newer head of the journal and wake the readers. An older head changes nothing."""
        if self._adopt(head):
            self.wake()

    def _adopt(self, head: JournalHead) -> bool:
        known = self.head
        if head.last_seq < known.last_seq or (
            head.last_seq == known.last_seq and head.terminal <= known.terminal
        ):
            return False
        self.head = head
        return True

    def resume(self, head: JournalHead) -> None:
        """Adopt the head that a new reader found. If nobody followed the thread meanwhile, what is kept of it
        is only good for the same head: the database may have lost events since."""
        if self.unfollowed_since is not None and head != self.head:
            self.clear()
            self.head = head
        self.unfollowed_since = None
        self.advance(head)

    def rewind(self, head: JournalHead) -> None:
        """Adopt an older head: the database has lost what came after it. Readers beyond it end."""
        self.head = head
        self.rewinds += 1
        self.clear()
        self.wake()

    def show_progress(self, text: str, now: float) -> None:
        """Send the runtime's progress text with a heartbeat; it is not journalled."""
        self.progress, self.progress_shown_at = text, now
        self.send_heartbeat()

    def send_heartbeat(self) -> None:
        """Give every reader a heartbeat."""
        self.heartbeats += 1
        self.live_end.send_heartbeat(Heartbeat(self.head.last_seq, self.progress), self.heartbeats)
        self._wake_others()

    def wake(self) -> None:
        """Wake every waiting reader."""
        self.live_end.wake()
        self._wake_others()

    def _wake_others(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._wakes.wake(self.thread_id, waiting)

    async def wait(self) -> None:
        """Wait for the next segment, or `wake`."""
        # An asyncio.Event would do the same, and cost each reader a place in a queue that it leaves itself.
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def segments_after(self, seq: int) -> list[Segment] | None:
        """The window's segments after the cursor, up to a step.

        None when the window does not have them any more, or not yet: a new reader may know a newer head of
        the journal than the window has.
        """
        window = self._window
        if not window or window[0].first_seq > seq + 1 or window[-1].last_seq <= seq:
            return None
        newest = window[-1]
        if newest.first_seq == seq + 1:
            newest.recently_read = True
            return [newest]
        found: list[Segment] = []
        size = 0
        start = bisect_right(window, seq, key=_last_seq)
        for index in range(start, min(start + STEP_SEGMENTS, len(window))):
            segment = window[index]
            if found and size + len(segment.batch) > STEP_BYTES:
                break
            segment.recently_read = True
            found.append(segment.after(seq))
            size += len(segment.batch)
        return found


def _last_seq(segment: Segment) -> int:
    return segment.last_seq
