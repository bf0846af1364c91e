"""Hub processes that are started, killed, stopped, continued and started again on the same ports."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import Process, spawn_fork
from tests.support.servers import free_port


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica serves, when it does."""

    http: str
    grpc: str


class Replica:
    """One place where a hub runs, again and again; each process has a writer's name of its own."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self._log = log
        self._ports = {"IDEO_HTTP_PORT": str(free_port()), "IDEO_GRPC_PORT": str(free_port())}
        http, grpc = (f"127.0.0.1:{port}" for port in self._ports.values())
        self.address = Address(f"http://{http}", grpc)
        self._process: Process | None = None
        #: Writer's name by process id, for the record of writes.
        self.writers: dict[int, str] = {}

    @property
    def process(self) -> Process:
        """The newest process."""
        assert self._process is not None
        return self._process

    @property
    def up(self) -> bool:
        """Whether a process of it is there."""
        return self._process is not None and self._process.up

    async def start(self, settings: Mapping[str, str]) -> None:
        """Start a process and wait until it serves. The DSN has `WRITER` where the writer's name belongs."""
        writer = f"{self.name}.{len(self.writers) + 1}"
        own = {"DATABASE_URL": settings["DATABASE_URL"].replace("WRITER", writer), **self._ports}
        self._process = await spawn_fork("serve", environment={**settings, **own}, log=self._log)
        self.writers[self._process.pid] = writer
        await self._process.serving("HTTP", "gRPC")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process."""
        self.process.signal(number)

    async def gone(self, within_s: float | None = None) -> int:
        """The exit code, once its process is gone."""
        return await self.process.ended(within_s)

    async def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            await self._process.kill()

    def rss_mib(self) -> float:
        """Resident memory (Linux)."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
