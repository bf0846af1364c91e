"""Which frames of a run are interpreted in the event loop itself.

A state frame often has 100 KiB or more, and as a rule takes half a millisecond. In a thread it costs twice as
much, and has to wait for the interpreter. But another frame of this size can take 200 times as long. So only
a frame that differs little from the last large one, which was quick, is expected to be quick.
"""

from __future__ import annotations

from collections.abc import Callable

from server.domain.off_loop import SMALL_BYTES
from server.encoding.frame_delta import changed_bytes

#: The largest frame that is interpreted in the loop, and how many seconds the one before it may have taken.
MAX_BYTES, MAX_S = 256 << 10, 0.002


class QuickFrames:
    """The large frames of one run that take little time."""

    def __init__(self) -> None:
        #: The last large frame, if it took little.
        self._last = b""

    @property
    def size_bytes(self) -> int:
        """Bytes that are kept."""
        return len(self._last)

    def includes(self, frame: bytes, known: Callable[[bytes], int | None]) -> bool:
        """Whether the next frame takes little, too. known: gives how much of it is changed, if the
        interpreter can tell (`FrameInterpreter.changed_bytes`)."""
        if len(frame) <= SMALL_BYTES:
            return True
        if len(frame) > MAX_BYTES or not self._last:
            return False
        changed = known(frame)
        return (changed_bytes(self._last, frame) if changed is None else changed) <= SMALL_BYTES

    @property
    def last_was_quick(self) -> bool:
        """Whether the last large frame took little."""
        return bool(self._last)

    def note(self, frame: bytes, seconds: float) -> None:
        """Note how long a large frame took."""
        self._last = frame if len(frame) <= MAX_BYTES and seconds <= MAX_S else b""

    def forget(self) -> None:
        """Keep nothing: the next large frame is interpreted beside the loop."""
        self._last = b""
