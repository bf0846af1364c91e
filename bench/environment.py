"""The environment: PostgreSQL, runtime, hub and proxy, each a process of its own on the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import psutil  # type: ignore[import-untyped]

from bench.readers import Addresses
from bench.reading import Job, Reading
from server.db.migrate import up
from server.embedded_postgres.server import embedded
from tests.support.processes import (
    ROOT,
    UNLIMITED,
    clean_environment,
    hub_environment,
    replay_process,
    running,
)
from tests.support.tokens import bearer, token

READ_S = 120.0


class NoFigure(Exception):
    """A figure cannot be given; the text says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What is measured, running."""

    addresses: Addresses
    dsn: str
    hub: psutil.Process
    proxy: psutil.Process
    postmaster: psutil.Process

    def cpu_of(self, target: str) -> float:
        """CPU seconds that the target's own process has used, user and system."""
        times = (self.proxy if target == "proxy" else self.hub).cpu_times()
        return float(times.user + times.system)

    def postgres_cpu(self) -> float:
        """CPU seconds of PostgreSQL, all of its processes, those that are gone included."""
        own = self.postmaster.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in self.postmaster.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                total += times.user + times.system
        return float(total)

    async def read(
        self, target: str, directive: str, *, runs: int = 1, at_once: int = 1, readers: int = 1
    ) -> Reading:
        """Have a process of its own read runs. Raises NoFigure."""
        job = Job(target, directive, runs, at_once, readers, self.addresses)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bench.reading", json.dumps(dataclasses.asdict(job))),
            cwd=ROOT,
            env=clean_environment({}),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(READ_S):
                out, wrong = await process.communicate()
        except TimeoutError:
            raise NoFigure(f"{target}: not read within {READ_S:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise NoFigure(f"{target}: {wrong.decode().strip()[-400:]}")
        return Reading(**json.loads(out))


async def _postmaster(dsn: str) -> psutil.Process:
    connection = await asyncpg.connect(dsn)
    try:
        parent = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()")).parent()
    finally:
        await connection.close()
    assert parent is not None
    return parent


async def _workflow(http_address: str, user: str) -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answer = await http.post(
            f"{http_address}/api/workflows",
            json={"name": "bench"},
            headers=bearer(user),
        )
        answer.raise_for_status()
        return str(answer.json()["id"])


@contextlib.asynccontextmanager
async def open_environment() -> AsyncIterator[Environment]:
    """Everything, started; PostgreSQL as it comes (it waits for the disk), in a folder of its own."""
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ideo-bench-"))
        dsn = await stack.enter_async_context(embedded(Path(folder) / "postgres"))
        await up(dsn)
        postmaster = await _postmaster(dsn)
        log = Path(folder) / "log"
        runtime = await stack.enter_async_context(replay_process())
        proxy = await stack.enter_async_context(
            running(runtime, module="bench.proxy", environment={}, log=log)
        )
        await proxy.serving("proxy")
        # One user does it all; streams are counted as in production, with a higher limit.
        settings = {**UNLIMITED, "IDEO_MAX_STREAMS": "100000", "IDEO_RUNTIME_PROFILE": "full"}
        environment = hub_environment(dsn, runtime, **settings)
        del environment["IDEO_LEASE_TTL_S"]  # as it is by default
        hub = await stack.enter_async_context(running("serve", environment=environment, log=log))
        await hub.serving("HTTP", "gRPC")
        user = token("bench@example.com")
        http_address, grpc_address = hub.addresses["HTTP"], hub.addresses["gRPC"]
        workflow_id = await _workflow(http_address, user)
        addresses = Addresses(proxy.addresses["proxy"], http_address, grpc_address, user, workflow_id)
        processes = psutil.Process(hub.pid), psutil.Process(proxy.pid)
        yield Environment(addresses, dsn, *processes, postmaster)
