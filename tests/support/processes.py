"""Processes of ours: hubs, replay runtimes and peers, which print `NAME ADDRESS` once they serve."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.support.forks import ROOT as ROOT
from tests.support.forks import Fork, fork
from tests.support.tokens import SECRET

#: Seconds that a process has to serve, and to end.
START_S, STOP_S = 120.0, 60.0
#: Settings for a hub whose one user does everything.
UNLIMITED = dict.fromkeys(("IDEO_MAX_ACTIVE_RUNS", "IDEO_MAX_CREATES_PER_MINUTE", "IDEO_MAX_STREAMS"), "0")


class StartFailed(Exception):
    """A process ended before it served, with this exit code."""

    def __init__(self, exit_code: int, log: str) -> None:
        super().__init__(f"the process ended with {exit_code}: {log}")
        self.exit_code = exit_code


class Process:
    """A process. `addresses`: those that it printed, by name."""

    def __init__(self, process: asyncio.subprocess.Process | Fork, log: Path | None) -> None:
        self._process, self._log = process, log
        self.addresses: dict[str, str] = {}

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def up(self) -> bool:
        return self._process.returncode is None

    async def serving(self, *names: str) -> None:
        """Wait until it printed an address for each name. Raises StartFailed."""
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S):
            while not self.addresses.keys() >= set(names):
                line = (await self._process.stdout.readline()).decode()
                if not line:
                    text = self._log.read_text(errors="replace")[-2000:] if self._log else ""
                    raise StartFailed(await self._process.wait(), text)
                name, _, address = line.strip().partition(" ")
                self.addresses[name] = address

    async def output(self) -> str:
        """What it prints from now on, until it closes its standard output."""
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S):
            return (await self._process.stdout.read()).decode()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def kill(self) -> None:
        """kill -9, also while it is stopped, and wait until it is gone."""
        if self.up:
            self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self.up:
            self._process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self, within_s: float | None = STOP_S) -> int:
        """Its exit code, once it ended by itself. No signal: to send one asks for the code of a process
        that is just ending, and asyncio, which asks too, then gets none."""
        async with asyncio.timeout(within_s):
            return await self._process.wait()


def memory_mib(pid: int, figure: str) -> float:
    """A figure of a process's memory (Linux): `VmRSS` is what it has, `VmHWM` the most that it had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.split("\n") if line.startswith(f"{figure}:"))


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without the hub's settings, and with `more`."""
    ours = ("IDEO_", "DATABASE_", "DEEPAGENTS_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**clean, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen/python'}:{ROOT / 'clients/python'}", **more}


async def spawn(*arguments: str, environment: Mapping[str, str], log: Path | None = None) -> Process:
    """`python -m ARGUMENTS` with only these settings. `log`: takes its standard error."""
    with _errors(log) as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            env=clean_environment(environment),
        )
    return Process(process, log)


async def spawn_fork(*arguments: str, environment: Mapping[str, str], log: Path | None = None) -> Process:
    """As `spawn("server", …)`, without the time that an interpreter takes to start and import. For tests that
    are not about the start, and do not measure memory, of which a fork shares some."""
    with _errors(log) as errors:
        return Process(await fork(*arguments, environment=clean_environment(environment), errors=errors), log)


@contextmanager
def _errors(log: Path | None) -> Iterator[int]:
    """Where a process writes its errors; without a log, where this one does."""
    if log is None:
        yield 2
    else:
        with log.open("ab") as errors:
            yield errors.fileno()


@asynccontextmanager
async def running(
    *arguments: str, environment: Mapping[str, str], module: str = "server", log: Path | None = None
) -> AsyncIterator[Process]:
    """`ideo ARGUMENTS`, or another module's command; killed afterwards."""
    process = await spawn(module, *arguments, environment=environment, log=log)
    try:
        yield process
    finally:
        await process.kill()


@asynccontextmanager
async def forked(
    *arguments: str, environment: Mapping[str, str], log: Path | None = None
) -> AsyncIterator[Process]:
    """`ideo ARGUMENTS` as `spawn_fork` starts it; killed afterwards."""
    process = await spawn_fork(*arguments, environment=environment, log=log)
    try:
        yield process
    finally:
        await process.kill()


@asynccontextmanager
async def replay_process(recordings: Path | None = None, *, chooses_ids: bool = False) -> AsyncIterator[str]:
    """The replay runtime on the shipped recordings, or on those of a folder; its address."""
    options: tuple[str, ...] = () if recordings is None else ("--frames", str(recordings))
    if chooses_ids:
        options += ("--choose-thread-ids",)
    async with forked("replay-runtime", "--port", "0", *options, environment={}) as process:
        await process.serving("runtime")
        yield process.addresses["runtime"]


def hub_environment(dsn: str, runtime: str, **more: str) -> dict[str, str]:
    """The settings of a hub process, on free ports."""
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
