"""Connections to receivers of webhooks, to the runtime and to an issuer of tokens, which may send anything:
of a head as much is read as an answer needs, everything a little at a time, and what is unusual for an answer
only as the event loop has time for it.

An answer costs by its lines rather than by its bytes: each line is parsed. The same is true of TLS: a server
may send messages of TLS itself without end, such as session tickets, and each takes time.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpcore
import httpx
from typing_extensions import override

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.loop_turns import LoopTurns

#: Bytes and lines that are read at a time, and parsed in one turn of the event loop.
READ_BYTES, READ_LINES = 4 << 10, 40
#: Reads of all such connections together in one turn of the event loop. Each takes some 0.3 ms, and 49
#: streams of events without end would have one in each turn.
TURN_READS = 8
#: Bytes that are read at a time of a body.
BODY_READ_BYTES = 64 << 10
#: Receive buffer of a connection, in bytes: what the kernel holds of an answer that is not read. By itself it
#: would grow to some MiB, all of which comes into the process with one read.
RECEIVE_BUFFER_BYTES = 128 << 10
#: Bytes, lines and reads of one answer: its head, interim answers, and the beginning of its body.
MAX_ANSWER_BYTES, MAX_ANSWER_LINES, MAX_READS = 64 << 10, 200, 256
#: Reads that are usual for an answer, as long as they have READ_BYTES and READ_LINES at most together. Others
#: wait for their turn.
USUAL_READS = 4
#: Bytes that the lines of a body usually have, on average: those of chunks of a byte have three.
USUAL_LINE_BYTES = 8
#: Bytes that are read at a time of what TLS decrypts, for a head and for a body: a record has 16 KiB at most.
#: And how many such reads, by their bytes, are usual before something is decrypted, and how many are the
#: most.
TLS_READ_BYTES, TLS_BODY_READ_BYTES, USUAL_TLS_READS, MAX_TLS_READS = 4 << 10, 17 << 10, 3, 5
#: Bytes of a handshake: OpenSSL takes 100 KiB of certificates.
MAX_HANDSHAKE_BYTES = 128 << 10
#: What parsing the answers that are not usual may take of the event loop's time, all of them together,
#: and the longest pause for that, in seconds.
MAX_SHARE, MAX_PAUSE_S = 0.1, 0.1


class LoopShare:
    """What connections have together of the event loop: TURN_READS in each turn, and for what is unusual
    MAX_SHARE of the time, one after the other."""

    def __init__(self) -> None:
        self._reads = LoopTurns(TURN_READS, small_bytes=1)
        self._one = asyncio.Lock()
        self._pause_s = 0.0

    async def read(self) -> None:
        """Wait for a turn of the loop in which one more may be read. Callers take turns in that."""
        await self._reads.take(on_behalf_of.get(), 1)

    async def take(self) -> None:
        """Wait for a turn, which begins with the return, and ends when the caller waits again."""
        async with self._one:
            await asyncio.sleep(self._pause_s)
            asyncio.get_running_loop().call_soon(self._ended, time.thread_time())

    def _ended(self, began: float) -> None:
        took_s = time.thread_time() - began
        self._pause_s = min(took_s * (1 - MAX_SHARE) / MAX_SHARE, MAX_PAUSE_S)


class _Encrypted:
    """A connection as TLS reads it, a little at a time, in the place of anyio's stream. share: as for
    `BoundedStream`."""

    def __init__(self, stream: Any, share: LoopShare) -> None:
        self._stream, self._share = stream, share
        self._read_bytes, self._max_bytes = TLS_READ_BYTES, MAX_HANDSHAKE_BYTES
        #: Bytes since something was decrypted.
        self._bytes = 0

    def decrypted(self, *, in_body: bool) -> None:
        """What was read made sense. in_body: what comes next is a body."""
        self._bytes = 0
        self._read_bytes = TLS_BODY_READ_BYTES if in_body else TLS_READ_BYTES
        self._max_bytes = MAX_TLS_READS * self._read_bytes

    async def receive(self, max_bytes: int = 0) -> bytes:
        """What comes next: TLS needs it to decrypt anything. Raises OSError when nothing is decrypted."""
        data: bytes = await self._stream.receive(self._read_bytes)
        self._bytes += len(data)
        if self._bytes > self._max_bytes:
            raise OSError("TLS sends nothing but its own messages")
        if self._bytes > USUAL_TLS_READS * self._read_bytes:
            await self._share.take()
        return data

    async def send(self, data: bytes) -> None:
        """As anyio's."""
        await self._stream.send(data)

    async def aclose(self) -> None:
        """As anyio's."""
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Any:
        """As anyio's."""
        return self._stream.extra_attributes


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection whose answers have MAX_ANSWER_BYTES, MAX_ANSWER_LINES and MAX_READS at most. share: that
    of all such connections. encrypted: what TLS reads, if there is TLS."""

    def __init__(
        self, stream: httpcore.AsyncNetworkStream, share: LoopShare, encrypted: _Encrypted | None = None
    ) -> None:
        self._stream, self._share, self._encrypted = stream, share, encrypted
        #: What came with the lines that were read last.
        self._waiting = b""
        self._count_anew(in_body=False)

    def head_ended(self) -> None:
        """The caller has the answer's status, and bounds its body itself."""
        self._count_anew(in_body=True)

    def _count_anew(self, *, in_body: bool) -> None:
        self._bytes = self._lines = self._reads = 0
        self._in_body = in_body
        if self._encrypted is not None:
            self._encrypted.decrypted(in_body=in_body)

    @override
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As httpcore's. Raises ReadError for an answer that does not end."""
        if not self._waiting:
            size = BODY_READ_BYTES if self._in_body else READ_BYTES
            self._waiting = await self._stream.read(size, timeout)
            if self._encrypted is not None:
                self._encrypted.decrypted(in_body=self._in_body)
        await self._share.read()
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
            await self._share.take()
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
        plain: Any = self._stream
        encrypted = plain._stream = _Encrypted(plain._stream, self._share)
        secured = await plain.start_tls(ssl_context, server_hostname, timeout)
        return BoundedStream(secured, self._share, encrypted)

    @override
    def get_extra_info(self, info: str) -> Any:
        """As httpcore's."""
        return self._stream.get_extra_info(info)


class BoundedNetwork(httpcore.AsyncNetworkBackend):
    """Makes such connections. share: with those of other networks."""

    def __init__(self, share: LoopShare | None = None) -> None:
        self._network, self._share = httpcore.AnyIOBackend(), share or LoopShare()

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> BoundedStream:
        """As httpcore's."""
        options = [*(socket_options or ()), (socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)]
        stream = await self._network.connect_tcp(host, port, timeout, local_address, options)
        return BoundedStream(stream, self._share)


def bounded_client(
    *, tls: ssl.SSLContext | bool, timeout: httpx.Timeout, headers: Mapping[str, str]
) -> httpx.AsyncClient:
    """A client for one server, with such connections. It follows no redirects, and uses no proxy of the
    environment. tls: for https, as httpx's `verify`."""
    transport = httpx.AsyncHTTPTransport(
        trust_env=False,
        verify=tls,
        # Calls are rare. A kept connection that the server has closed meanwhile would make it unclear whether
        # a request was accepted.
        limits=httpx.Limits(max_keepalive_connections=0),
    )
    # httpx has no option for it.
    transport._pool._network_backend = BoundedNetwork()
    return httpx.AsyncClient(
        transport=transport,
        event_hooks={"response": [_end_head]},
        timeout=timeout,
        follow_redirects=False,
        trust_env=False,
        # A compressed body may be small to receive and large to store.
        headers={"accept": "application/json", "accept-encoding": "identity", **headers},
    )


async def _end_head(response: httpx.Response) -> None:
    response.extensions["network_stream"].head_ended()


def _first_lines(data: bytes, max_bytes: int) -> tuple[bytes, bytes]:
    """The first READ_LINES lines, at most max_bytes, and the rest."""
    *lines, rest = data.split(b"\n", READ_LINES)
    end = min(len(data) - len(rest) if len(lines) == READ_LINES else len(data), max_bytes)
    return data[:end], data[end:]
