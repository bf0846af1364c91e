"""Hub processes: started, killed, stopped, continued and started again on the same ports."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import chain, cycle, islice
from pathlib import Path

from tests.faults.rig.recorder import Address

START_S = 60.0
#: Below the ports that the kernel gives to outgoing connections, so that nobody takes one while its
#: replica is away.
_FIRST = os.getpid() % 100 * 100
_PORTS = cycle(chain(range(20_000 + _FIRST, 32_000), range(20_000, 20_000 + _FIRST)))


def free_port() -> int:
    """A port that nothing listens on."""
    for port in islice(_PORTS, 12_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port is left")


class Child:
    """A process of ours that says `NAME ADDRESS` when it serves."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log
        self.addresses: dict[str, str] = {}

    async def serving(self, *names: str) -> None:
        """Wait until it told an address for each name."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START_S):
            while not self.addresses.keys() >= set(names):
                line = (await self.process.stdout.readline()).decode()
                if not line:
                    said = self._log.read_text(errors="replace")[-2000:]
                    raise AssertionError(f"the process ended with {await self.process.wait()}: {said}")
                name, _, address = line.strip().partition(" ")
                self.addresses[name] = address

    async def gone(self) -> int:
        """Its exit code, once it is gone."""
        return await self.process.wait()

    async def kill(self) -> None:
        """kill -9, also while it is stopped."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def spawn(*arguments: str, environment: Mapping[str, str], log: Path) -> Child:
    """`python ARGUMENTS` with only these settings."""
    ours = ("IDEO_", "DATABASE_", "DEEPAGENTS_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**clean, "PYTHONPATH": ".:gen/python", **environment},
        )
    return Child(process, log)


class Replica:
    """One place where a hub runs, again and again; each process has a writer's name of its own."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._http, self._grpc = free_port(), free_port()
        self._child: Child | None = None
        self._starts = 0
        #: Writer's name by process id, for the record of writes.
        self.writers: dict[int, str] = {}

    @property
    def address(self) -> Address:
        """Where it serves, when it does."""
        return Address(f"http://127.0.0.1:{self._http}", f"127.0.0.1:{self._grpc}")

    @property
    def pid(self) -> int:
        """Of the newest process."""
        assert self._child is not None
        return self._child.process.pid

    @property
    def up(self) -> bool:
        """Whether a process of it is there."""
        return self._child is not None and self._child.process.returncode is None

    async def start(self, environment: Mapping[str, str], dsn: str) -> None:
        """Start a process and wait until it serves. `dsn` has `WRITER` where the writer's name belongs."""
        self._starts += 1
        writer = f"{self.name}.{self._starts}"
        own = {
            "DATABASE_URL": dsn.replace("WRITER", writer),
            "IDEO_HTTP_PORT": str(self._http),
            "IDEO_GRPC_PORT": str(self._grpc),
        }
        self._child = await spawn("-m", "server", "serve", environment={**environment, **own}, log=self.log)
        self.writers[self._child.process.pid] = writer
        await self._child.serving("HTTP", "gRPC")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process."""
        assert self._child is not None
        self._child.process.send_signal(number)

    async def gone(self) -> int:
        """The exit code, once its process is gone."""
        assert self._child is not None
        return await self._child.gone()

    async def kill(self) -> None:
        """kill -9."""
        if self._child is not None:
            await self._child.kill()

    def rss_mib(self) -> float:
        """Resident memory (Linux)."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@asynccontextmanager
async def scripted_runtime(log: Path) -> AsyncIterator[str]:
    """The scripted runtime as a process; its address."""
    child = await spawn("-m", "tests.faults.rig.runtime", "0", environment={}, log=log)
    try:
        await child.serving("runtime")
        yield child.addresses["runtime"]
    finally:
        await child.kill()
