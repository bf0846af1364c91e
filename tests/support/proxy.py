"""A TCP proxy that breaks connections on command, for the way to the runtime and the way to PostgreSQL.

It listens on a port or on a Unix socket, and forwards to the same kind. A `Fault` says what happens to
a connection; `break_all` and `hold` act on those that are open.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

How = Literal["close", "reset", "half-close", "swallow"]

#: A port of 127.0.0.1, or the path of a Unix socket.
Place = int | Path


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens on the way from the server to the client; by default nothing.

    after_bytes, after_frames: where the connection breaks, counted from the first byte, or from the
    first WebSocket frame. The unit before the break still passes, whole. how: `close` is a proper end
    of both ways, `reset` a RST, `half-close` the end of the server's way alone, `swallow` leaves both
    ends open and passes nothing more: half open. delay_s: added to each piece. bytes_per_s: throttle.
    """

    after_bytes: int | None = None
    after_frames: int | None = None
    how: How = "close"
    delay_s: float = 0.0
    bytes_per_s: float = 0.0


class _Frames:
    """Finds the ends of a server's WebSocket frames behind the handshake's answer."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._in_frames = False
        #: Bytes of the current frame that are still to come.
        self._left = 0

    def ends(self, piece: bytes) -> list[int]:
        """The places in `piece` behind which a frame ends."""
        found: list[int] = []
        at = 0
        while at < len(piece):
            if self._left:
                step = min(self._left, len(piece) - at)
                self._left -= step
                at += step
                if not self._left:
                    found.append(at)
                continue
            self._data.append(piece[at])
            at += 1
            if not self._in_frames:
                if self._data.endswith(b"\r\n\r\n"):
                    self._in_frames = True
                    self._data.clear()
                continue
            size = self._size()
            if size is not None:
                self._data.clear()
                self._left = size
                if not size:
                    found.append(at)
        return found

    def _size(self) -> int | None:
        """The payload's size, once the frame's head is whole."""
        if len(self._data) < 2:
            return None
        size = self._data[1] & 0x7F
        more = {126: 2, 127: 8}.get(size, 0)
        if len(self._data) < 2 + more:
            return None
        return int.from_bytes(self._data[2:]) if more else size


class _Connection:
    def __init__(self, proxy: Proxy, fault: Fault, client: asyncio.StreamWriter) -> None:
        self._proxy, self._fault, self._client = proxy, fault, client
        self.server: asyncio.StreamWriter | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self._frames = _Frames() if fault.after_frames is not None else None
        self._seen_bytes = self._seen_frames = 0
        self._swallowing = False

    async def forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool
    ) -> None:
        """Pass on one way until its end."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while piece := await reader.read(1 << 16):
                await self._proxy.open.wait()
                if down:
                    if self._fault.delay_s:
                        await asyncio.sleep(self._fault.delay_s)
                    if self._fault.bytes_per_s:
                        await asyncio.sleep(len(piece) / self._fault.bytes_per_s)
                if self._swallowing:
                    continue
                cut = self._cut(piece) if down else None
                writer.write(piece[:cut])
                await writer.drain()
                self._proxy.passed_bytes += len(piece[:cut])
                if cut is not None:
                    self._proxy.broken += 1
                    self.end(self._fault.how)
                    if self._fault.how in ("close", "reset"):
                        return
        if not self._swallowing:
            with contextlib.suppress(OSError, RuntimeError):
                writer.write_eof()

    def _cut(self, piece: bytes) -> int | None:
        """Where in the piece the connection breaks, if it does."""
        if self._frames is not None and self._fault.after_frames is not None:
            for end in self._frames.ends(piece):
                self._seen_frames += 1
                if self._seen_frames == self._fault.after_frames:
                    return end
        elif self._fault.after_bytes is not None:
            before = self._seen_bytes
            self._seen_bytes += len(piece)
            if before <= self._fault.after_bytes <= self._seen_bytes:
                return self._fault.after_bytes - before
        return None

    def end(self, how: How) -> None:
        """Break it."""
        self._swallowing = True
        if how == "swallow":
            return
        if how == "half-close":
            with contextlib.suppress(OSError, RuntimeError):
                self._client.write_eof()
            return
        for writer in (self._client, self.server):
            if writer is None:
                continue
            if how == "reset":
                raw: socket.socket = writer.get_extra_info("socket")
                if raw.family != socket.AF_UNIX:
                    with contextlib.suppress(OSError):
                        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()


class Proxy:
    """A running proxy. `fault` is asked for each new connection, with its number from 1."""

    def __init__(self, target: Place) -> None:
        self.target = target
        self.fault: Callable[[int], Fault] = lambda _: Fault()
        #: Cleared, nothing passes: a stall.
        self.open = asyncio.Event()
        self.open.set()
        self.connections = 0
        self.broken = 0
        self.passed_bytes = 0
        self.place: Place = 0
        self._live: set[_Connection] = set()

    @property
    def live(self) -> int:
        """Connections that are open."""
        return len(self._live)

    def break_all(self, how: How) -> None:
        """Break every open connection."""
        self.broken += len(self._live)
        for connection in list(self._live):
            connection.end(how)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client came."""
        self.connections += 1
        connection = _Connection(self, self.fault(self.connections), writer)
        self._live.add(connection)
        try:
            there, server = await _connect(self.target)
            connection.server = server
            async with asyncio.TaskGroup() as group:
                group.create_task(connection.forward(reader, server, down=False))
                group.create_task(connection.forward(there, writer, down=True))
        except OSError:
            pass
        finally:
            self._live.discard(connection)
            for side in (writer, connection.server):
                if side is not None:
                    side.close()


async def _connect(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(place, Path):
        return await asyncio.open_unix_connection(str(place))
    return await asyncio.open_connection("127.0.0.1", place)


@asynccontextmanager
async def proxy(target: Place, *, at: Place = 0) -> AsyncIterator[Proxy]:
    """A proxy in front of `target`, at a free port unless `at` says otherwise; see its `place`."""
    running = Proxy(target)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await running.connected(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            tasks.discard(task)

    if isinstance(at, Path):
        server = await asyncio.start_unix_server(connected, str(at), backlog=512)
        running.place = at
    else:
        server = await asyncio.start_server(connected, "127.0.0.1", at, backlog=512)
        running.place = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
