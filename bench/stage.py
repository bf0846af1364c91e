"""The stage: PostgreSQL, runtime, hub and proxy, each a process of its own on this machine's loopback."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import psutil  # type: ignore[import-untyped]

from bench.readers import Addresses
from bench.reading import Job, Reading
from server.auth.tokens import SharedSecret
from server.db.migrate import up
from server.embedded_postgres.server import embedded

ROOT = Path(__file__).resolve().parent.parent
SECRET = "a secret of the bench, long enough to be one"
START_S = 60.0
READ_S = 120.0


class Refused(Exception):
    """A figure that is worth nothing; the text says why."""


@dataclass(frozen=True, slots=True)
class Stage:
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
        """Have a process of its own read runs. Raises Refused."""
        job = Job(target, directive, runs, at_once, readers, self.addresses)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bench.reading", json.dumps(dataclasses.asdict(job))),
            cwd=ROOT,
            env=_environment({}),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(READ_S):
                out, wrong = await process.communicate()
        except TimeoutError:
            raise Refused(f"{target}: not read within {READ_S:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise Refused(f"{target}: {wrong.decode().strip()[-400:]}")
        return Reading(**json.loads(out))


def _environment(extra: dict[str, str]) -> dict[str, str]:
    """This process's environment without the hub's settings, then `extra`."""
    ours = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("IDEO_", "DATABASE_", "DEEPAGENTS_"))
    }
    return {**ours, "PYTHONPATH": str(ROOT), **extra}


@contextlib.asynccontextmanager
async def _process(
    arguments: Sequence[str], prints: Sequence[str], **extra: str
) -> AsyncIterator[tuple[psutil.Process, list[str]]]:
    """A Python process, once it has printed a line with each of the words; what stands behind them."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", *arguments),
        cwd=ROOT,
        env=_environment(extra),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        found = []
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            for word in prints:
                while not (line := await process.stdout.readline()).startswith(word.encode()):
                    if not line:
                        raise Refused(f"{arguments[0]} ended before it said `{word}`")
                found.append(line.decode().split()[-1])
        yield psutil.Process(process.pid), found
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _postmaster(dsn: str) -> psutil.Process:
    connection = await asyncpg.connect(dsn)
    try:
        parent = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()")).parent()
    finally:
        await connection.close()
    assert parent is not None
    return parent


async def _workflow(http_address: str, token: str) -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answer = await http.post(
            f"{http_address}/api/workflows",
            json={"name": "bench"},
            headers={"Authorization": f"Bearer {token}"},
        )
        answer.raise_for_status()
        return str(answer.json()["id"])


@contextlib.asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    """Everything, started; PostgreSQL as it comes (it waits for the disk), in a folder of its own."""
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ideo-bench-"))
        dsn = await stack.enter_async_context(embedded(Path(folder) / "postgres"))
        await up(dsn)
        postmaster = await _postmaster(dsn)
        _, (runtime,) = await stack.enter_async_context(
            _process(["server", "replay-runtime", "--port", "0"], ["runtime"])
        )
        proxy, (proxy_address,) = await stack.enter_async_context(
            _process(["bench.proxy", runtime], ["proxy"])
        )
        hub, (http_address, grpc_address) = await stack.enter_async_context(
            _process(
                ["server", "serve"],
                ["HTTP", "gRPC"],
                IDEO_ENV="dev",
                IDEO_JWT_SECRET=SECRET,
                DATABASE_URL=dsn,
                DEEPAGENTS_RUNTIME_URL=runtime,
                IDEO_RUNTIME_PROFILE="full",
                IDEO_HTTP_PORT="0",
                IDEO_GRPC_PORT="0",
                # One user does it all; streams are counted as in production, but for their limit.
                IDEO_MAX_ACTIVE_RUNS="0",
                IDEO_MAX_CREATES_PER_MINUTE="0",
                IDEO_MAX_STREAMS="100000",
            )
        )
        token = SharedSecret(SECRET).issue(
            email="bench@example.com", lifetime=timedelta(hours=1), now=datetime.now(UTC)
        )
        workflow_id = await _workflow(http_address, token)
        addresses = Addresses(proxy_address, http_address, grpc_address, token, workflow_id)
        yield Stage(addresses, dsn, hub, proxy, postmaster)
