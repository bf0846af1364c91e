"""WebSocket frames as bytes: the hub's only module that builds their header (RFC 6455 section 5.2).

uvicorn and its `websockets` library frame the rest: pings, pongs, and every close except that of a slow
reader.

A server's frames are not masked, so they are the same for every client (ADR 0006). A large message is sent in
fragments (section 5.4): pings, pongs and a close may come between them, so a reader who stops in the middle
of a message can still be closed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_CONTINUATION = 0x80
_TEXT = 0x81
_BINARY = 0x82
_CLOSE = 0x88
#: Without this bit, more fragments follow.
_LAST = 0x80
#: Bytes of a frame at most, its header of four included.
FRAME_BYTES = 64 << 10
_FRAGMENT_BYTES = FRAME_BYTES - 4
#: First byte, the mark that the length follows in two bytes, and the length.
_LONG_HEADER = struct.Struct("!BBH")


def frame_header(kind: int, size: int) -> bytes:
    """The header of an unmasked frame of at most FRAME_BYTES; `kind` is its first byte."""
    if size < 126:
        return bytes((kind, size))
    return _LONG_HEADER.pack(kind, 126, size)


def text_frame(*payload: bytes) -> bytes:
    """A text message; the parts of its payload are UTF-8."""
    return _message(_TEXT, b"".join(payload) if len(payload) > 1 else payload[0])


def text_part(payload: bytes, first: bool, last: bool) -> bytes:
    """A part of a text message whose parts are made while it is sent."""
    return _message(_TEXT if first else _CONTINUATION, payload, last=last)


def text_header(size: int) -> bytes:
    """The header of a text message of at most FRAME_BYTES with it."""
    return frame_header(_TEXT, size)


def binary_frame(payload: bytes) -> bytes:
    """A binary message."""
    return _message(_BINARY, payload)


def binary_header(size: int) -> bytes:
    """The header of a binary message of at most FRAME_BYTES with it."""
    return frame_header(_BINARY, size)


def _message(kind: int, payload: bytes, *, last: bool = True) -> bytes:
    size = len(payload)
    if size <= _FRAGMENT_BYTES:
        return frame_header(kind if last else kind & ~_LAST, size) + payload
    parts: list[bytes] = []
    for at in range(0, size, _FRAGMENT_BYTES):
        fragment = payload[at : at + _FRAGMENT_BYTES]
        first_byte = _CONTINUATION if at else kind
        if at + _FRAGMENT_BYTES < size or not last:
            first_byte &= ~_LAST
        parts += frame_header(first_byte, len(fragment)), fragment
    return b"".join(parts)


def frames_of(messages: bytes) -> Iterator[bytes]:
    """The frames of messages that this module made."""
    at = 0
    while at < len(messages):
        size, header = messages[at + 1], 2
        if size == 126:
            size, header = int.from_bytes(messages[at + 2 : at + 4]), 4
        yield messages[at : at + header + size]
        at += header + size


def close_frame(code: int, reason: str) -> bytes:
    """A close; the reason has at most 123 bytes."""
    payload = struct.pack("!H", code) + reason.encode()
    return frame_header(_CLOSE, len(payload)) + payload
