"""The memory of a run's interpreter, counted in the budget of the process."""

from __future__ import annotations

from server.domain.byte_budget import ByteBudget
from server.domain.journal.events import EventKind
from server.domain.off_loop import RUNS, SMALL_BYTES
from server.domain.runs.quick_frames import QuickFrames
from server.domain.runs.runtime import FrameInterpreter

#: What is kept grows by so many times the size of a quick frame at most: twice the frame, and the values that
#: it changes as texts and as files.
_GROWTH = 4


class InterpreterMemory:
    """The memory of one interpreter, and of the frame that the next one is compared with. If the budget has
    no room for it, what can be released is."""

    def __init__(self, budget: ByteBudget, interpreter: FrameInterpreter, quick: QuickFrames) -> None:
        self._budget, self._interpreter, self._quick = budget, interpreter, quick
        #: Bytes in use of the budget.
        self._kept_bytes = 0

    @property
    def room_bytes(self) -> int:
        """Bytes that the interpreter may keep."""
        return self._kept_bytes + self._budget.keepable_bytes

    def has_room_after(self, frame: bytes) -> bool:
        """Whether there is room for what is kept after another quick frame."""
        return self._budget.keepable_bytes >= _GROWTH * len(frame)

    async def shrink_to_budget(self, seq: int, kind: EventKind) -> None:
        """Count what the interpreter keeps after the last event, or release it. seq: of that event."""
        if not self.count():
            await RUNS.run(self._release, seq, kind)
            if not self.count() and self._interpreter.memory_bytes > SMALL_BYTES:
                # As bytes, it takes a fraction.
                await RUNS.run(self._interpreter.dump)
                self.count()

    def count_restored(self) -> None:
        """Count what the interpreter keeps once all events are restored, or release it."""
        if not self.count():
            self._forget_frames()
            self.count()

    def close(self) -> None:
        """Give all bytes back: no more frames come."""
        kept_bytes, self._kept_bytes = self._kept_bytes, 0
        self._budget.release_kept(kept_bytes)

    def count(self) -> bool:
        """Take what the interpreter keeps into use. Returns whether there is room for it."""
        size_bytes = self._interpreter.memory_bytes + self._quick.size_bytes
        if size_bytes < self._kept_bytes:
            self._budget.release_kept(self._kept_bytes - size_bytes)
        elif not self._budget.keep(size_bytes - self._kept_bytes):
            return False
        self._kept_bytes = size_bytes
        return True

    def _release(self, seq: int, kind: EventKind) -> None:
        self._interpreter.release_files(seq, kind)
        self._forget_frames()

    def _forget_frames(self) -> None:
        self._interpreter.forget_frames()
        self._quick.forget()
