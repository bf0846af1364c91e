"""How much a WebSocket's client may send (ADR 0018).

A client has nothing to send but pings, pongs, its close and, at most once a second, a new token. What costs
most is the number of frames: one without a payload has 6 bytes.
"""

from __future__ import annotations

from server.domain.rates import Rate

#: Bytes that a client may send: a new token has at most 4 KiB.
BYTES = Rate(burst=64 << 10, per_s=16 << 10)
#: The same for frames. A frame of a burst takes some 4 µs, one that comes alone 50 µs: a user's 500 sockets
#: together a tenth of the loop's time.
FRAMES = Rate(burst=256, per_s=4)
#: Bytes that are read before frames are counted: 85 of the smallest frames.
SLICE_BYTES = 512
#: Frames that one message may have: those without a payload do not count for its size.
MAX_FRAGMENTS = 128
