"""The hub and the replay runtime as real processes, to be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from server.auth.tokens import SharedSecret

#: Seconds that a process has to say that it serves.
START_S = 30.0
SECRET = "a secret for tests that is long enough"


def token(email: str = "ann@example.com") -> str:
    """A token that hub processes accept."""
    return SharedSecret(SECRET).issue(email=email, lifetime=timedelta(hours=1), now=datetime.now(UTC))


class Process:
    """One process of the command line, which prints `NAME ADDRESS` lines when it serves."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.addresses: dict[str, str] = {}

    @property
    def pid(self) -> int:
        return self._process.pid

    async def serving(self, *names: str) -> None:
        """Wait until it printed an address for each name."""
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S):
            while not self.addresses.keys() >= set(names):
                line = (await self._process.stdout.readline()).decode()
                if not line:
                    raise AssertionError(f"the process ended with {await self._process.wait()}")
                name, _, address = line.strip().partition(" ")
                self.addresses[name] = address

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Its exit code, once it ended by itself. No signal: to send one asks for the code of a process
        that is just ending, and asyncio, which asks too, is then told of none."""
        async with asyncio.timeout(20):
            return await self._process.wait()


@asynccontextmanager
async def running(*arguments: str, environment: Mapping[str, str]) -> AsyncIterator[Process]:
    """`ideo ARGUMENTS` with only these settings; killed when the test is over."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("IDEO_", "DATABASE_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env={**clean, **environment},
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def replay_process(recordings: Path | None = None) -> AsyncIterator[str]:
    """The replay runtime on the shipped recordings, or on those of a folder; its address."""
    frames = () if recordings is None else ("--frames", str(recordings))
    async with running("replay-runtime", "--port", "0", *frames, environment={}) as process:
        await process.serving("runtime")
        yield process.addresses["runtime"]


def hub_environment(dsn: str, runtime: str, **more: str) -> dict[str, str]:
    """The settings of a hub process on free ports."""
    return {
        "IDEO_ENV": "dev",
        "IDEO_JWT_SECRET": SECRET,
        "DATABASE_URL": dsn,
        "DEEPAGENTS_RUNTIME_URL": runtime,
        "IDEO_HTTP_PORT": "0",
        "IDEO_GRPC_PORT": "0",
        "IDEO_LEASE_TTL_S": "2",
        **more,
    }
