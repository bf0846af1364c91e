"""HTTP/2 by hand: a gRPC client that does what no library lets it do."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from tests.hostile.attacks.sockets import place

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_INITIAL_WINDOW = 4
_MAX_FRAME = 16384

SERVICE = "/ide_orchestrator.v1."
LIST_PROPOSALS = f"{SERVICE}ProposalService/ListProposals"
GET_PROPOSAL = f"{SERVICE}ProposalService/GetProposal"
WATCH = f"{SERVICE}RefinementService/WatchRefinement"
HEALTH_WATCH, HEALTH_CHECK = "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/Check"


def frame(kind: int, flags: int = 0, stream: int = 0, data: bytes = b"") -> bytes:
    """A frame."""
    return struct.pack("!I", len(data))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + data


def message(data: bytes, *, size: int | None = None) -> bytes:
    """A gRPC message; `size`: what it says its size is."""
    return struct.pack("!BI", 0, len(data) if size is None else size) + data


def fields(path: str, token: str = "", more: Sequence[tuple[str, str]] = ()) -> bytes:
    """A call's header fields, as literals."""
    pairs = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x")]
    pairs += [("te", "trailers"), ("content-type", "application/grpc"), *more]
    if token:
        pairs.append(("authorization", f"Bearer {token}"))
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in pairs)


def _text(text: str) -> bytes:
    """A string literal of HPACK, its length an integer with a prefix of 7 bits."""
    data = text.encode()
    length = len(data)
    if length < 127:
        return bytes([length]) + data
    encoded, length = [127], length - 127
    while length >= 128:
        encoded.append(length % 128 + 128)
        length //= 128
    return bytes([*encoded, length]) + data


class Connection:
    """A connection. Streams have the numbers 1, 3, 5, and so on. `ended`: those that the hub ended.
    `closed_s`: after how many seconds the hub closed the connection; None while it is open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._began = time.monotonic()
        self._next = 1
        self._credit: dict[int, int] = {0: 65535}
        self._first_credit = 65535
        self._more_credit, self._closed = asyncio.Event(), asyncio.Event()
        self.ended: set[int] = set()
        self.closed_s: float | None = None

    @property
    def calls(self) -> int:
        """How many were begun."""
        return self._next // 2

    @property
    def active(self) -> int:
        """How many have not ended."""
        return self.calls - len(self.ended)

    def write(self, data: bytes) -> None:
        """Send bytes, whether they mean something or not."""
        if self.closed_s is None:
            self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the kernel took what was sent."""
        with suppress(OSError):
            await self._writer.drain()
        await asyncio.sleep(0)

    def call(
        self,
        path: str,
        token: str = "",
        data: bytes | None = None,
        *,
        ends: bool = False,
        more: Sequence[tuple[str, str]] = (),
    ) -> int:
        """Begin a call: its header fields with `more`, and if given, data; `ends`: with the end of the
        request."""
        stream, self._next = self._next, self._next + 2
        self._credit[stream] = self._first_credit
        self.write(frame(HEADERS, END_HEADERS, stream, fields(path, token, more)))
        if data is not None:
            self.write(frame(DATA, END_STREAM if ends else 0, stream, data))
        return stream

    async def send(self, stream: int, data: bytes) -> None:
        """Send data of a call, as the hub's windows allow."""
        rest = memoryview(data)
        while rest and stream not in self.ended and self.closed_s is None:
            size = min(_MAX_FRAME, len(rest), self._credit[0], self._credit[stream])
            if size <= 0:
                self._more_credit.clear()
                await self._more_credit.wait()
                continue
            self.write(frame(DATA, 0, stream, bytes(rest[:size])))
            rest = rest[size:]
            self._credit[0] -= size
            self._credit[stream] -= size
            await self.drain()

    async def read(self) -> None:
        """Answer settings and pings, until the hub closes the connection."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                header = await self._reader.readexactly(9)
                kind, flags, stream = header[3], header[4], int.from_bytes(header[5:], "big")
                self._take(
                    kind, flags, stream, await self._reader.readexactly(int.from_bytes(header[:3], "big"))
                )
        self.closed_s = time.monotonic() - self._began
        self._more_credit.set()
        self._closed.set()

    async def closed(self) -> None:
        """Wait until the hub closes the connection."""
        await self._closed.wait()

    def _take(self, kind: int, flags: int, stream: int, data: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._settings(data)
            self.write(frame(SETTINGS, ACK))
        elif kind == PING and not flags & ACK:
            self.write(frame(PING, ACK, 0, data))
        elif kind == WINDOW:
            self._credit[stream] = self._credit.get(stream, 0) + int.from_bytes(data, "big")
            self._more_credit.set()
        elif kind == RESET or (kind in (HEADERS, DATA) and flags & END_STREAM):
            self.ended.add(stream)
            self._more_credit.set()

    def _settings(self, data: bytes) -> None:
        for name, value in struct.iter_unpack("!HI", data):
            if name == _INITIAL_WINDOW:
                for stream in self._credit.keys() - {0}:
                    self._credit[stream] += value - self._first_credit
                self._first_credit = value


@asynccontextmanager
async def connection(
    address: str, *, window: int = 65535, source: str | None = None
) -> AsyncIterator[Connection]:
    """A connection. `window`: bytes that the hub may send for each call, of which none is ever given back.
    `source`: the address that it comes from."""
    from_where = None if source is None else (source, 0)
    reader, writer = await asyncio.open_connection(*place(address), local_addr=from_where)
    made = Connection(reader, writer)
    made.write(PREFACE + frame(SETTINGS, 0, 0, struct.pack("!HI", _INITIAL_WINDOW, window)))
    made.write(frame(WINDOW, 0, 0, struct.pack("!I", 1 << 30)))
    reading = asyncio.ensure_future(made.read())
    try:
        yield made
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        writer.transport.abort()
