"""The live end of a thread on one replica: a window of its newest segments, and who waits for more."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from uuid import UUID

from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment

#: Most bytes of segments that one step hands out, and that one read of the journal returns.
STEP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing new for a while: a sign of life with the journal's end and the runtime's progress."""

    last_seq: int
    progress: str


@dataclass(frozen=True, slots=True)
class ReconnectElsewhere:
    """This replica goes away: follow again elsewhere after a while, which differs by reader."""

    after_s: float


class Topic:
    """The live end of one thread on this replica."""

    def __init__(self, thread_id: UUID, window_bytes: int) -> None:
        self.thread_id = thread_id
        self.head = JournalHead(0, 1, 1, False)
        #: Readers that hold it open.
        self.readers = 0
        #: Grows with each sign of life that is due.
        self.beats = 0
        self.progress = ""
        #: The retelling that the seed's readers share, as far as they have come.
        self.retelling: FrameReconstructor | None = None
        self._window: deque[Segment] = deque()
        self._window_bytes = window_bytes
        self._bytes = 0
        self._pulse = asyncio.Event()

    def extend(self, segment: Segment, head: JournalHead) -> None:
        """Take in the next committed segment and wake the readers."""
        if self._window and self._window[-1].last_seq >= segment.last_seq:
            return
        if self._window and self._window[-1].last_seq + 1 != segment.first_seq:
            self._window.clear()
            self._bytes = 0
        segment.grown = self._grown
        self._window.append(segment)
        self._grown(segment.size_bytes)
        self.advance(head)

    def _grown(self, size: int) -> None:
        self._bytes += size
        while self._bytes > self._window_bytes and len(self._window) > 1:
            gone = self._window.popleft()
            gone.grown = None
            self._bytes -= gone.size_bytes

    def advance(self, head: JournalHead) -> None:
        """Note where the journal stands and wake the readers if it moved. An older head is no news."""
        if (head.last_seq, head.terminal) > (self.head.last_seq, self.head.terminal):
            self.head = head
            self.wake()

    def show_progress(self, text: str) -> None:
        """Pass on a progress heartbeat of the runtime; it is not journalled."""
        self.progress = text
        self.beat()

    def beat(self) -> None:
        """Make every waiting reader give a sign of life."""
        self.beats += 1
        self.wake()

    def wake(self) -> None:
        """Wake every waiting reader."""
        self._pulse.set()
        self._pulse.clear()

    async def wait(self) -> None:
        """Wait for the next `wake`."""
        await self._pulse.wait()

    def after(self, seq: int) -> list[Segment] | None:
        """The window's segments behind the cursor, up to a step; None when it has them no longer, or not
        yet: a reader that joins may know of a later end than the window does."""
        window = self._window
        if not window or window[0].first_seq > seq + 1 or window[-1].last_seq <= seq:
            return None
        # Readers are near the end: look from there.
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

    @property
    def window_size(self) -> int:
        """Bytes that the window holds."""
        return self._bytes
