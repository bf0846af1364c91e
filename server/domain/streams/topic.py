"""The live end of a thread on one replica: a window of its newest segments, and a signal to its readers."""

from __future__ import annotations

import asyncio
from collections import deque
from uuid import UUID

from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment

#: Largest step in bytes, and largest read of the journal, unless a single segment is larger.
STEP_BYTES = 1 << 20


class Topic:
    """The live end of one thread on this replica."""

    def __init__(self, thread_id: UUID, max_window_bytes: int) -> None:
        self.thread_id = thread_id
        self.head = JournalHead(0, 1, 1, False)
        #: Number of subscriptions.
        self.readers = 0
        #: Number of heartbeats so far.
        self.heartbeats = 0
        #: How often the journal was found to end before what readers had.
        self.rewinds = 0
        #: The runtime's newest progress text.
        self.progress = ""
        #: The most advanced reconstructor of the readers of legacy frames, shared by them.
        self.reconstructor: FrameReconstructor | None = None
        self._window: deque[Segment] = deque()
        self._max_window_bytes = max_window_bytes
        self._window_bytes = 0
        self._wakeup = asyncio.Event()

    @property
    def window_bytes(self) -> int:
        """Bytes that the window holds."""
        return self._window_bytes

    def extend(self, segment: Segment, head: JournalHead) -> None:
        """Add the next committed segment to the window and wake the readers."""
        if self._window and self._window[-1].last_seq >= segment.last_seq:
            return
        if self._window and self._window[-1].last_seq + 1 != segment.first_seq:
            self._window.clear()
            self._window_bytes = 0
        self._window.append(segment.observed_by(self._on_grow))
        self._add_bytes(segment.size_bytes)
        self.advance(head)

    def _on_grow(self, segment: Segment, size: int) -> None:
        # A reader may still render a segment that has left the window.
        if self._window and segment.first_seq >= self._window[0].first_seq:
            self._add_bytes(size)

    def _add_bytes(self, size: int) -> None:
        self._window_bytes += size
        while self._window_bytes > self._max_window_bytes and len(self._window) > 1:
            self._window_bytes -= self._window.popleft().size_bytes

    def advance(self, head: JournalHead) -> None:
        """Adopt a newer head of the journal and wake the readers. An older head changes nothing."""
        if (head.last_seq, head.terminal) > (self.head.last_seq, self.head.terminal):
            self.head = head
            self.wake()

    def rewind(self, head: JournalHead) -> None:
        """Adopt an older head: the database has lost what came after it. Readers beyond it end."""
        self.head = head
        self.rewinds += 1
        self._window.clear()
        self._window_bytes = 0
        self.reconstructor = None
        self.wake()

    def show_progress(self, text: str) -> None:
        """Send the runtime's progress text with a heartbeat; it is not journalled."""
        self.progress = text
        self.send_heartbeat()

    def send_heartbeat(self) -> None:
        """Give every reader a heartbeat."""
        self.heartbeats += 1
        self.wake()

    def wake(self) -> None:
        """Wake every waiting reader."""
        self._wakeup.set()
        self._wakeup.clear()

    async def wait(self) -> None:
        """Wait for the next `wake`."""
        await self._wakeup.wait()

    def segments_after(self, seq: int) -> list[Segment] | None:
        """The window's segments after the cursor, up to a step.

        None when the window does not have them any more, or not yet: a new reader may know a newer head of
        the journal than the window has.
        """
        window = self._window
        if not window or window[0].first_seq > seq + 1 or window[-1].last_seq <= seq:
            return None
        # Readers are near the end: search from there.
        start = len(window) - 1
        while start > 0 and window[start].first_seq > seq + 1:
            start -= 1
        found: list[Segment] = []
        size = 0
        for index in range(start, len(window)):
            segment = window[index]
            if segment.last_seq <= seq:
                continue
            if found and size + len(segment.batch) > STEP_BYTES:
                break
            found.append(segment.after(seq))
            size += len(segment.batch)
        return found
