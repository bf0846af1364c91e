"""Connections to receivers of webhooks and to the runtime, which may send anything: of a head as much is read
as an answer needs, everything a little at a time, and what is unusual for an answer only as the event loop
has time for it.

What an answer costs is what its lines cost, of which each is parsed, rather than its bytes.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore
from typing_extensions import override

#: Bytes and lines that are read at a time, and parsed in one turn of the event loop.
READ_BYTES, READ_LINES = 4 << 10, 40
#: Bytes that are read at a time of a body.
BODY_READ_BYTES = 64 << 10
#: Bytes, lines and reads of one answer: its head, interim answers, and the beginning of its body.
MAX_ANSWER_BYTES, MAX_ANSWER_LINES, MAX_READS = 64 << 10, 200, 256
#: Reads that are usual for an answer, as long as they have READ_BYTES and READ_LINES at most together. Others
#: wait for their turn.
USUAL_READS = 4
#: Bytes that the lines of a body usually have, on average: those of chunks of a byte have three.
USUAL_LINE_BYTES = 8
#: What parsing the answers that are not usual may take of the event loop's time, all of them together,
#: and the longest pause for that, in seconds.
MAX_SHARE, MAX_PAUSE_S = 0.1, 0.1


class Turns:
    """Gives connections their turns, one after the other, so that all of them together have MAX_SHARE of the
    event loop's time."""

    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self._pause_s = 0.0

    async def take(self) -> None:
        """Wait for a turn, which begins with the return, and ends when the caller waits again."""
        async with self._one:
            await asyncio.sleep(self._pause_s)
            asyncio.get_running_loop().call_soon(self._ended, time.thread_time())

    def _ended(self, began: float) -> None:
        took_s = time.thread_time() - began
        self._pause_s = min(took_s * (1 - MAX_SHARE) / MAX_SHARE, MAX_PAUSE_S)


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection whose answers have MAX_ANSWER_BYTES, MAX_ANSWER_LINES and MAX_READS at most. turns: what
    all such connections share."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, turns: Turns) -> None:
        self._stream, self._turns = stream, turns
        #: What came with the lines that were read last.
        self._waiting = b""
        self._count_anew(in_body=False)

    def head_ended(self) -> None:
        """The caller has the answer's status, and bounds its body itself."""
        self._count_anew(in_body=True)

    def _count_anew(self, *, in_body: bool) -> None:
        self._bytes = self._lines = self._reads = 0
        self._in_body = in_body

    @override
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As httpcore's. Raises ReadError for an answer that does not end."""
        # What is waiting already is read without a pause, and others must have their turn.
        await asyncio.sleep(0)
        if not self._waiting:
            size = BODY_READ_BYTES if self._in_body else READ_BYTES
            self._waiting = await self._stream.read(size, timeout)
        data, self._waiting = _first_lines(self._waiting, max_bytes)
        self._bytes, self._lines, self._reads = (
            self._bytes + len(data),
            self._lines + data.count(b"\n"),
            self._reads + 1,
        )
        if not self._in_body and (
            self._bytes > MAX_ANSWER_BYTES or self._lines > MAX_ANSWER_LINES or self._reads > MAX_READS
        ):
            raise httpcore.ReadError("the answer does not end")
        if self._is_unusual():
            await self._turns.take()
        return data

    def _is_unusual(self) -> bool:
        if self._in_body:
            return self._lines > READ_LINES and self._bytes < USUAL_LINE_BYTES * self._lines
        return self._bytes > READ_BYTES or self._lines > READ_LINES or self._reads > USUAL_READS

    @override
    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """As httpcore's. What comes afterwards is another answer."""
        self._count_anew(in_body=False)
        await self._stream.write(buffer, timeout)

    @override
    async def aclose(self) -> None:
        """As httpcore's."""
        await self._stream.aclose()

    @override
    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """As httpcore's."""
        secured = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return BoundedStream(secured, self._turns)

    @override
    def get_extra_info(self, info: str) -> Any:
        """As httpcore's."""
        return self._stream.get_extra_info(info)


class BoundedNetwork(httpcore.AsyncNetworkBackend):
    """Makes such connections. turns: what they share with those of other networks."""

    def __init__(self, turns: Turns | None = None) -> None:
        self._network, self._turns = httpcore.AnyIOBackend(), turns or Turns()

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """As httpcore's."""
        stream = await self._network.connect_tcp(host, port, timeout, local_address, socket_options)
        return BoundedStream(stream, self._turns)


def _first_lines(data: bytes, max_bytes: int) -> tuple[bytes, bytes]:
    """The first READ_LINES lines, at most max_bytes, and the rest."""
    *lines, rest = data.split(b"\n", READ_LINES)
    end = min(len(data) - len(rest) if len(lines) == READ_LINES else len(data), max_bytes)
    return data[:end], data[end:]
