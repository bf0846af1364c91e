"""How much a WebSocket's client may send. Pure (ADR 0018).

A client has nothing to send but pongs, its close and, at most once a second, a new token. What costs most is
the number of frames: one without a payload has 6 bytes.
"""

from __future__ import annotations

#: Bytes that a client may send at once, and in a second from then on: a new token has at most 4 KiB.
BURST_BYTES, BYTES_PER_S = 64 << 10, 16 << 10
#: The same for frames. A frame takes some 4 µs, so a burst takes about a millisecond.
BURST_FRAMES, FRAMES_PER_S = 256, 32
#: Bytes that are read before frames are counted: 85 of the smallest frames.
SLICE_BYTES = 512
#: Frames that one message may have: those without a payload do not count for its size.
MAX_FRAGMENTS = 128


class Budget:
    """An amount that is spent, and grows again by `per_s`, up to `burst`. Times are monotonic, in seconds."""

    def __init__(self, *, burst: float, per_s: float, now: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._left, self._at = burst, now

    def spend(self, amount: float, now: float) -> bool:
        """Take the amount. Returns False when it exceeds what is left."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s) - amount
        self._at = now
        return self._left >= 0
