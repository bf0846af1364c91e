"""A TCP proxy that breaks or stalls connections on command: the way to the runtime, and to PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from tests.support.hand_clock import until
from tests.support.postgres import socket_of
from tests.support.servers import Place, tcp_server

#: `close` is a proper end of both ways, `reset` a RST, `half-close` the end of the server's way alone;
#: `swallow` leaves both ends open and passes nothing more: half open.
How = Literal["close", "reset", "half-close", "swallow"]


class _Connection:
    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client, self.server = client, server
        self.swallows = False
        #: Whether the server has sent something.
        self.answered = False

    def end(self, how: How) -> None:
        """Break it."""
        self.swallows = True
        if how == "half-close":
            with contextlib.suppress(OSError, RuntimeError):
                self.client.write_eof()
        elif how != "swallow":
            for writer in (self.client, self.server):
                if how == "reset":
                    reset(writer)
                else:
                    writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a RST, where there are such."""
    raw: socket.socket = writer.get_extra_info("socket")
    if raw.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def reset_once_read(writer: asyncio.StreamWriter) -> None:
    """End a connection of this machine with a RST, once its other end has read everything: a RST discards
    what it has not read (Linux)."""
    host, port = writer.get_extra_info("peername")
    there = f"{socket.htonl(struct.unpack('!I', socket.inet_aton(host))[0]):08X}:{port:04X}"

    def is_read() -> bool:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        waiting = [each[4].partition(":")[2] for each in map(str.split, lines) if each[1] == there]
        return not writer.transport.get_write_buffer_size() and all(int(size, 16) == 0 for size in waiting)

    await until(is_read)
    reset(writer)


class Proxy:
    """A running proxy. `place`: where it listens."""

    def __init__(self, target: Place) -> None:
        self._target = target
        #: Cleared, nothing passes: a stall.
        self.open = asyncio.Event()
        self.open.set()
        self.broken = 0
        #: Connections so far.
        self.accepted = 0
        self.place: Place = 0
        self._live: set[_Connection] = set()

    @property
    def answered(self) -> int:
        """How many unbroken connections have had something of the server."""
        return sum(connection.answered and not connection.swallows for connection in self._live)

    def break_all(self, how: How) -> None:
        """Break every open connection."""
        self.broken += len(self._live)
        for connection in list(self._live):
            connection.end(how)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client."""
        self.accepted += 1
        if isinstance(self._target, Path):
            there, server = await asyncio.open_unix_connection(str(self._target))
        else:
            there, server = await asyncio.open_connection("127.0.0.1", self._target)
        connection = _Connection(writer, server)
        self._live.add(connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(connection, reader, server))
                group.create_task(self._forward(connection, there, writer))
        finally:
            self._live.discard(connection)
            server.close()

    async def _forward(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass on one way until its end."""
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                await self.open.wait()
                if not connection.swallows:
                    writer.write(piece)
                    await writer.drain()
                    connection.answered |= writer is connection.client
        if not connection.swallows:
            with contextlib.suppress(OSError, RuntimeError):
                writer.write_eof()


@asynccontextmanager
async def proxy(target: Place, *, at: Place = 0) -> AsyncIterator[Proxy]:
    """A proxy in front of `target`, at a free port unless `at` says otherwise."""
    running = Proxy(target)
    async with tcp_server(running.handle, at) as running.place:
        yield running


@asynccontextmanager
async def through_a_proxy(dsn: str) -> AsyncIterator[tuple[str, Proxy]]:
    """The DSN of the same database through a proxy."""
    with tempfile.TemporaryDirectory(prefix="ideo-", dir="/tmp") as folder:
        async with proxy(socket_of(dsn), at=Path(folder) / ".s.PGSQL.5432") as between:
            yield urlsplit(dsn)._replace(query=f"host={folder}&port=5432").geturl(), between
