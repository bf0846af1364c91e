"""A real Redis-protocol server on a free port, which tests may stop, freeze and start again."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.support.hand_clock import retried
from tests.support.servers import free_port

#: Programs that will do, in this order; Debian has them as redis-server and valkey-server.
PROGRAMS = ("redis-server", "valkey-server", "dragonfly")


class RedisServer:
    """A server that keeps nothing on disk. `url` stays the same over restarts."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        arguments = ["--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            *("--port", str(self.port)),
            *([] if "dragonfly" in self._program else arguments),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with self.client() as client:
            await retried(lambda: client.execute_command("PING"), RedisError, OSError)  # type: ignore[no-untyped-call]

    async def kill(self) -> None:
        """kill -9; everything in it is gone."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It answers nothing more, and its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        """A client for the test itself."""
        client = Redis.from_url(self.url, protocol=2)
        try:
            yield client
        finally:
            await client.aclose()


@asynccontextmanager
async def redis_server(folder: Path) -> AsyncIterator[RedisServer]:
    """A running server; skips the test where none is installed."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no Redis-protocol server: install one of {', '.join(PROGRAMS)}")
    server = RedisServer(program, folder)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
