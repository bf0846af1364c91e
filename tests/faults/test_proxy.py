"""The proxy breaks what it is told to, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.proxy import Fault, How, Place, Proxy, proxy

FRAMES = [b"x" * size for size in (1, 125, 126, 0, 65535, 65536, 200_000, 7)]


@asynccontextmanager
async def stream_behind_proxy(fault: Fault) -> AsyncIterator[tuple[str, Proxy]]:
    async def script(socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            for frame in FRAMES:
                await socket.send(frame)
            await socket.wait_closed()

    async with (
        serve(script, "127.0.0.1", 0, compression=None, close_timeout=0.2) as server,
        proxy(next(iter(server.sockets)).getsockname()[1]) as between,
    ):
        between.fault = lambda _: fault
        yield f"ws://127.0.0.1:{between.place}", between


@pytest.mark.parametrize("how", ["close", "reset", "half-close", "swallow"])
@pytest.mark.parametrize("count", range(1, len(FRAMES) + 1))
async def test_a_stream_breaks_behind_the_frame_it_is_told_to(how: How, count: int) -> None:
    async with stream_behind_proxy(Fault(after_frames=count, how=how)) as (address, between):
        got: list[bytes] = []
        socket = await connect(address, max_size=None, close_timeout=0.1, proxy=None, compression=None)
        with contextlib.suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(0.3 if how == "swallow" else 5):
                while True:
                    got.append(await socket.recv(decode=False))
        # A reset may take away what was on its way.
        assert got == FRAMES[:count] if how != "reset" else got == FRAMES[: len(got)]
        assert (socket.close_code is None) == (how == "swallow")
        assert between.broken == 1
        await socket.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


async def _open(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(place, Path):
        return await asyncio.open_unix_connection(str(place))
    return await asyncio.open_connection("127.0.0.1", place)


@pytest.mark.parametrize("unix", [False, True])
async def test_bytes_pass_unchanged_until_the_break(unix: bool, tmp_path: Path) -> None:
    if unix:
        server: asyncio.Server = await asyncio.start_unix_server(echo, str(tmp_path / "echo"))
        target: Place = tmp_path / "echo"
    else:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        target = server.sockets[0].getsockname()[1]
    async with server, proxy(target, at=tmp_path / "between" if unix else 0) as between:
        between.fault = lambda number: Fault(after_bytes=5 if number == 1 else None)
        for expected in (b"hello", b"hello world"):
            reader, writer = await _open(between.place)
            writer.write(b"hello world")
            assert await reader.readexactly(len(expected)) == expected
            if expected == b"hello":
                assert await reader.read() == b""
            writer.close()


async def test_a_stall_ends_and_open_connections_can_be_broken_at_once() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, proxy(server.sockets[0].getsockname()[1]) as between:
        pairs = [await _open(between.place) for _ in range(3)]
        between.open.clear()
        for _, writer in pairs:
            writer.write(b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pairs[0][0].readexactly(4), 0.1)
        between.open.set()
        for reader, _ in pairs:
            assert await asyncio.wait_for(reader.readexactly(4), 5) == b"late"
        between.break_all("reset")
        for reader, writer in pairs:
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(reader.readexactly(1), 5)
            writer.close()
