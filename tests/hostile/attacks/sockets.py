"""Raw connections of an attacker's over HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from websockets.frames import Frame, Opcode

#: Bytes that are written at a time.
BLOCK = 1 << 16
#: A flood's connection that was closed is opened again so many times at most, after so many seconds.
MAX_AGAIN, AGAIN_S = 100, 0.05
#: Receive buffer of a reader that stops: the smallest that Linux gives is about twice as large.
SMALL_BUFFER = 2048


def place(address: str) -> tuple[str, int]:
    """Host and port of `http://HOST:PORT` or `HOST:PORT`."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    return host, int(port)


def head(path: str, token: str = "", *, method: str = "GET", more: Sequence[str] = ()) -> bytes:
    """A request's head; `more`: header lines."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *more]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode()


def upgrade(
    thread_id: str,
    token: str,
    subprotocol: str | None = "ideo.v1",
    after: int = 0,
    *,
    more: Sequence[str] = (),
) -> bytes:
    """The request that opens a thread's WebSocket; `more`: header lines."""
    lines = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    lines.append("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return head(f"/api/ws/refinements/{thread_id}?after={after}", token, more=[*lines, *more])


def event_stream(thread_id: str, token: str, after: int = 0) -> bytes:
    """The request that opens a thread's SSE stream."""
    path = f"/api/refinements/{thread_id}/events?after={after}"
    return head(path, token, more=["Accept: text/event-stream"])


def frame(opcode: Opcode, data: bytes = b"", *, final: bool = True) -> bytes:
    """A client's WebSocket frame."""
    return Frame(opcode, data, final).serialize(mask=True)


@dataclass
class Sent:
    """What became of a flood. `ends`: how its connections ended, by their last bytes or error."""

    total: int = 0
    opened: int = 0
    ends: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} x {how}" for how, count in self.ends.most_common(3))
        return f"{self.total / 2**20:.1f} MiB over {self.opened} connections; ended: {ends or 'none'}"


@dataclass(frozen=True)
class Flood:
    """`first` is sent, and after the answer to it `begun`, then `unit` without end."""

    first: bytes
    unit: bytes
    begun: bytes = b""
    upgraded: bool = False

    async def send(self, address: str, *, sockets: int, seconds: float) -> Sent:
        """Send it on some sockets; one that the hub closes is opened again."""
        sent, until = Sent(), time.monotonic() + seconds
        await asyncio.gather(*(self._send_on(address, until, sent) for _ in range(sockets)))
        return sent

    async def _send_on(self, address: str, until: float, sent: Sent) -> None:
        for _ in range(MAX_AGAIN):
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    sent.ends[await self._send_once(address, sent)] += 1
                    await asyncio.sleep(AGAIN_S)

    async def _send_once(self, address: str, sent: Sent) -> str:
        """How the connection ended: the close of a WebSocket, or the first answer's status."""
        reader, writer = await asyncio.open_connection(*place(address))
        sent.opened += 1
        status = tail = b""
        try:
            writer.write(self.first)
            if self.upgraded:
                status = (await reader.readuntil(b"\r\n\r\n"))[9:12]
            writer.write(self.begun)
            writing = asyncio.ensure_future(_write(writer, self.unit * max(1, BLOCK // len(self.unit)), sent))
            try:
                while data := await reader.read(BLOCK):
                    status, tail = status or data[9:12], (tail + data)[-4:]
            finally:
                writing.cancel()
        except (OSError, EOFError) as error:
            return type(error).__name__ if not status else _how(status, tail, self.upgraded)
        finally:
            writer.transport.abort()
        return _how(status, tail, self.upgraded)


def _how(status: bytes, tail: bytes, upgraded: bool) -> str:
    if upgraded and len(tail) == 4 and tail[0] == 0x88:
        return f"close {int.from_bytes(tail[2:], 'big')}"
    return status.decode("latin-1") or "no answer"


async def _write(writer: asyncio.StreamWriter, block: bytes, sent: Sent) -> None:
    with suppress(OSError):
        while True:
            writer.write(block)
            await writer.drain()
            sent.total += len(block)
            # drain() of a buffer that is not full does not let others run.
            await asyncio.sleep(0)


async def opened(address: str, first: bytes, *, buffer: int = 0) -> socket.socket | None:
    """A connection on which `first` was sent and nothing is read; None if there is none. `buffer`: bytes
    that the kernel may receive for it."""
    loop = asyncio.get_running_loop()
    made = socket.socket()
    made.setblocking(False)
    if buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    try:
        await loop.sock_connect(made, place(address))
        await loop.sock_sendall(made, first)
    except asyncio.CancelledError:
        made.close()
        raise
    except OSError:
        made.close()
        return None
    return made


@asynccontextmanager
async def holding(
    address: str, requests: Sequence[bytes], *, buffer: int = 0
) -> AsyncIterator[list[socket.socket]]:
    """Connections as `opened` makes them, one for each request; those that there are."""
    made = [each for first in requests if (each := await opened(address, first, buffer=buffer)) is not None]
    try:
        yield made
    finally:
        for each in made:
            each.close()


async def stopped(address: str, requests: Sequence[bytes], seconds: float) -> str:
    """Ask, and read nothing. A request that the hub does not take in that time is left as it is."""
    asking = [asyncio.ensure_future(opened(address, first, buffer=SMALL_BUFFER)) for first in requests]
    await asyncio.sleep(seconds)
    for each in asking:
        each.cancel()
    for connection in await asyncio.gather(*asking, return_exceptions=True):
        if isinstance(connection, socket.socket):
            connection.close()
    return f"{len(requests)} asked and not read"


async def silent(
    address: str, first: bytes, *, count: int, seconds: float, again: bytes = b"", again_s: float = 2.0
) -> str:
    """Open connections on which no request ever ends; `again` is sent on each every `again_s`."""
    ended: list[float] = []
    began = time.monotonic()

    async def one() -> None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_connection(*place(address))
                more = asyncio.ensure_future(_again(writer, again, again_s)) if again else None
                try:
                    writer.write(first)
                    with suppress(OSError):
                        while await reader.read(BLOCK):
                            pass
                    ended.append(time.monotonic() - began)
                finally:
                    if more is not None:
                        more.cancel()
                    writer.transport.abort()

    await asyncio.gather(*(one() for _ in range(count)))
    when = f", the last after {max(ended):.1f} s" if ended else ""
    return f"{count} connections, the hub ended {len(ended)}{when}"


async def _again(writer: asyncio.StreamWriter, data: bytes, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        writer.write(data)
