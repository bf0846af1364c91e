"""The proxy breaks what it is asked to break, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.proxy import How, proxy
from tests.support.servers import Place, tcp_server

FRAMES = [b"x" * size for size in (1, 125, 126, 0, 65535, 65536, 200_000, 7)]


@pytest.mark.parametrize("how", ["close", "reset", "half-close", "swallow"])
@pytest.mark.parametrize("count", range(1, len(FRAMES) + 1))
async def test_a_stream_breaks_after_the_frames_that_passed(how: How, count: int) -> None:
    goes_on = asyncio.Event()

    async def script(socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            for frame in FRAMES[:count]:
                await socket.send(frame)
            await goes_on.wait()
            await socket.send(b"after the break")
            await socket.wait_closed()

    async with (
        serve(script, "127.0.0.1", 0, compression=None, close_timeout=0.2) as server,
        proxy(next(iter(server.sockets)).getsockname()[1]) as between,
    ):
        address = f"ws://127.0.0.1:{between.place}"
        socket = await connect(address, max_size=None, close_timeout=0.1, proxy=None, compression=None)
        got = [await socket.recv(decode=False) for _ in range(count)]
        between.break_all(how)
        goes_on.set()
        with contextlib.suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(0.3 if how == "swallow" else 60):
                while True:
                    got.append(await socket.recv(decode=False))
        assert got == FRAMES[:count]
        assert (socket.close_code is None) == (how == "swallow")
        assert between.broken == 1
        await socket.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)


async def _open(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(place, Path):
        return await asyncio.open_unix_connection(str(place))
    return await asyncio.open_connection("127.0.0.1", place)


@pytest.mark.parametrize("unix", [False, True])
async def test_bytes_pass_unchanged_until_the_break(unix: bool, tmp_path: Path) -> None:
    async with (
        tcp_server(echo, tmp_path / "echo" if unix else 0) as target,
        proxy(target, at=tmp_path / "between" if unix else 0) as between,
    ):
        for _ in range(2):
            reader, writer = await _open(between.place)
            writer.write(b"hello world")
            assert await reader.readexactly(11) == b"hello world"
            between.break_all("close")
            assert await reader.read() == b""
            writer.close()
        assert between.broken == 2


async def test_a_stall_ends_and_open_connections_can_be_broken_at_once() -> None:
    async with tcp_server(echo) as target, proxy(target) as between:
        pairs = [await _open(between.place) for _ in range(3)]
        between.open.clear()
        for _, writer in pairs:
            writer.write(b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pairs[0][0].readexactly(4), 0.1)
        between.open.set()
        for reader, _ in pairs:
            assert await asyncio.wait_for(reader.readexactly(4), 20) == b"late"
        between.break_all("reset")
        for reader, writer in pairs:
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(reader.readexactly(1), 20)
            writer.close()
