"""A WebSocket follower that costs little: it keeps what arrives, with times, and parses it afterwards."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import cast
from urllib.parse import urlsplit

#: A close of 1000 without a reason, as it ends the bytes of a stream.
_CLOSE = b"\x88\x02\x03\xe8"
#: Client frames; a mask of zeros is a mask.
_CLOSED = b"\x88\x82\0\0\0\0\x03\xe8"
_CONTROL = 8


class Refused(OSError):
    """The server did not upgrade the connection."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message, and when its last byte arrived, in nanoseconds of the monotonic clock."""

    message: bytes
    at_ns: int


class Capture(asyncio.Protocol):
    """One follower. `opened` is set once it is upgraded, `ended` once the server closed or left."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._head = self._tail = b""
        self._chunks: list[bytes] = []
        self._times: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It begins."""
        # uvloop's transports are of no class of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Keep bytes."""
        if not self.opened.done():
            self._head += data
            head, separator, data = self._head.partition(b"\r\n\r\n")
            if not separator:
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                self.opened.set_exception(Refused(head.split(b"\r\n", 1)[0].decode("latin-1")))
                self.transport.close()
                return
            self.opened.set_result(None)
            if not data:
                return
        if data[0] == 0x89 and len(data) < 128:
            self.transport.write(b"\x8a" + bytes((0x80 | data[1],)) + bytes(4) + data[2:])
            return
        self._chunks.append(data)
        self._times.append(time.monotonic_ns())
        # The close may come in two pieces.
        self._tail = (self._tail + data if len(data) < len(_CLOSE) else data)[-len(_CLOSE) :]
        if self._tail == _CLOSE:
            self.transport.write(_CLOSED)
            self._end()

    def connection_lost(self, error: Exception | None) -> None:
        """The server left."""
        if not self.opened.done():
            self.opened.set_exception(Refused("the connection ended before the upgrade"))
        self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    @property
    def last_ns(self) -> int:
        """When the last bytes arrived."""
        return self._times[-1]

    def arrived(self) -> list[Arrived]:
        """The messages so far."""
        ends = list(accumulate(map(len, self._chunks)))
        return [
            Arrived(message, self._times[bisect_left(ends, end)])
            for message, end in messages_of(b"".join(self._chunks))
        ]


def messages_of(stream: bytes) -> Sequence[tuple[bytes, int]]:
    """The data messages in a server's bytes, each with the place of its end; what is cut off is left out."""
    found = []
    parts: list[bytes] = []
    place, size = 0, len(stream)
    while place + 2 <= size:
        first, length = stream[place], stream[place + 1]
        begin = place + 2
        if length > 125:
            wide = 2 if length == 126 else 8
            length = int.from_bytes(stream[begin : begin + wide], "big")
            begin += wide
        place = begin + length
        if place > size:
            break
        if not first & _CONTROL:
            parts.append(stream[begin:place])
            if first & 0x80:
                found.append((b"".join(parts), place))
                parts = []
    return found


async def follow(url: str, token: str = "", subprotocol: str | None = None) -> Capture:
    """Connect. Raises Refused, OSError."""
    at = urlsplit(url)
    _, capture = await asyncio.get_running_loop().create_connection(Capture, at.hostname or "", at.port or 80)
    lines = [
        f"GET {at.path}{'?' + at.query if at.query else ''} HTTP/1.1",
        f"Host: {at.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version: 13",
        *([f"Authorization: Bearer {token}"] if token else []),
        *([f"Sec-WebSocket-Protocol: {subprotocol}"] if subprotocol else []),
    ]
    capture.transport.write("\r\n".join([*lines, "", ""]).encode())
    await capture.opened
    return capture
