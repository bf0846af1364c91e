"""WebSocket frames as bytes: the hub's only module that builds their header (RFC 6455 section 5.2).

uvicorn and its `websockets` library frame the rest: pings, pongs, and every close except that of a slow
reader.

A server's frames are not masked, so they are the same for every client (ADR 0006).
"""

from __future__ import annotations

import struct

_TEXT = 0x81
_BINARY = 0x82
_CLOSE = 0x88


def frame_header(kind: int, size: int) -> bytes:
    """The header of an unfragmented, unmasked frame."""
    if size < 126:
        return bytes((kind, size))
    if size < 1 << 16:
        return struct.pack("!BBH", kind, 126, size)
    return struct.pack("!BBQ", kind, 127, size)


def text_frame(*payload: bytes) -> bytes:
    """A text message; the parts of its payload are UTF-8."""
    return b"".join((frame_header(_TEXT, sum(map(len, payload))), *payload))


def binary_frame(payload: bytes) -> bytes:
    """A binary message."""
    return frame_header(_BINARY, len(payload)) + payload


def close_frame(code: int, reason: str) -> bytes:
    """A close; the reason has at most 123 bytes."""
    payload = struct.pack("!H", code) + reason.encode()
    return frame_header(_CLOSE, len(payload)) + payload
