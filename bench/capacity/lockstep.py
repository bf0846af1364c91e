"""Unit costs of commits and wake-ups, of the hub's own journal, fan-out and carriers.

In lockstep: one event is put into each of some runs, and the next ones when all of these are committed and
have reached every follower. So a commit has as many events as runs. The figures are of processor time and
bytes alone, which depend less than times on how busy the machine is. Sockets and frames are not part of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psutil  # type: ignore[import-untyped]

from bench.figures import NoFigure, Table
from bench.machine import cpu_seconds, tree_cpu_seconds
from server.db.wakeup_key import read_wakeup_key
from server.domain.journal.events import Token
from server.domain.streams.subscription import Subscription
from server.domain.streams.wakeups import Wakeups
from server.wakeups.payloads import hints_of, payloads_of
from server.wakeups.postgres import PostgresWakeups
from server.wakeups.redis import RedisWakeups
from tests.integration.replicas import LocalRun, Replica, replica
from tests.support.hand_clock import until
from tests.support.redis_server import PROGRAMS, redis_server

#: As long as what a model writes at a time.
_TOKEN = Token(text="some words of a model ")
_POSITION = "SELECT pg_current_wal_insert_lsn() - '0/0', pg_total_relation_size('events')"
CARRIERS = ("LISTEN/NOTIFY", "Redis streams")


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds of CPU so far: this process, in which all replicas are, PostgreSQL, and the Redis server."""

    replicas: float
    postgres: float
    redis: float

    @classmethod
    def now(cls, postgres_pid: int, redis_pid: int) -> Used:
        """So far."""
        redis = cpu_seconds(redis_pid) if redis_pid else 0.0
        return cls(time.process_time(), tree_cpu_seconds(postgres_pid), redis)

    def cells(self, began: Used, events: int) -> list[str]:
        """µs an event since then."""
        parts = (
            (self.replicas, began.replicas),
            (self.postgres, began.postgres),
            (self.redis, began.redis),
        )
        return [f"{(now - then) / events * 1e6:.1f}" for now, then in parts]


async def measure_commits(dsn: str, _folder: Path, *, quick: bool) -> Table:
    """A row for each number of runs in a commit."""
    rows = []
    postgres_pid = await _postgres_pid(dsn)
    async with replica(dsn, lambda pool: PostgresWakeups(pool, dsn)) as here:
        runs: list[LocalRun] = []
        for size in (1, 3) if quick else (1, 10, 50, 200, 1000):
            runs += [await here.run() for _ in range(size - len(runs))]
            times = 5 if quick else max(20, 400 // size)
            await _put(runs, [], 3)
            looking = await asyncpg.connect(dsn)
            await looking.execute("CHECKPOINT")
            first, used = await looking.fetchrow(_POSITION), Used.now(postgres_pid, 0)
            await _put(runs, [], times)
            events = times * size
            cells = Used.now(postgres_pid, 0).cells(used, events)
            last = await looking.fetchrow(_POSITION)
            await looking.close()
            wal, table = (
                f"{(after - before) / events:.0f}" for before, after in zip(first, last, strict=True)
            )
            rows.append([f"{size:,}", f"{float(cells[1]) * size:,.0f}", cells[1], cells[0], wal, table])
    heads = [
        "runs, each with an event",
        "PostgreSQL µs a commit",
        "PostgreSQL µs an event",
        "hub µs an event",
    ]
    return Table("Commits", [*heads, "WAL bytes an event", "table bytes an event"], rows)


async def measure_wakeups(dsn: str, folder: Path, *, quick: bool) -> Table:
    """A row for each carrier and number of replicas that follow."""
    rows = []
    for carrier in CARRIERS:
        for others in (0, 1) if quick else (0, 1, 2, 4):
            async with _replicas(dsn, folder, carrier, others) as (here, there, pids, count_reads):
                rows.append(
                    [
                        carrier,
                        str(others),
                        "0",
                        *await _followed(here, there, pids, count_reads, 5 if quick else 20),
                    ]
                )
    return Table("Wake-ups of 20 runs", ["carrier", "following replicas", "idle runs", *_HEADS], rows)


async def measure_followed(dsn: str, folder: Path, *, quick: bool) -> Table:
    """A row for each carrier and number of idle runs that the other replica follows, too."""
    rows = []
    for carrier in CARRIERS:
        async with _replicas(dsn, folder, carrier, 1) as (here, there, pids, count_reads):
            idle = 0
            for more in (0, 5) if quick else (0, 250, 750):
                for _ in range(more):
                    thread = (await here.run()).thread_id
                    await there[0].broadcaster.subscribe(thread, 1)
                idle += more
                cells = await _followed(here, there, pids, count_reads, 5 if quick else 20)
                rows.append([carrier, "1", f"{idle:,}", *cells])
    return Table("The same beside idle runs", ["carrier", "following replicas", "idle runs", *_HEADS], rows)


async def measure_hints(_dsn: str, _folder: Path, *, quick: bool) -> Table:
    """What a replica needs to read a hint and to see that it does not follow the run."""
    payloads = list(payloads_of({uuid4().int: 1000 + number for number in range(1000)}))
    times, followed, count = 5 if quick else 100, {uuid4(): 1}, 0
    began = time.process_time()
    for _ in range(times):
        for payload in payloads:
            for thread_id, _seq in hints_of(payload):
                count += thread_id not in followed
    return Table(
        "Hints of `NOTIFY`",
        ["hints", "µs each"],
        [[f"{count:,}", f"{(time.process_time() - began) / count * 1e6:.2f}"]],
    )


_HEADS = ["all replicas, µs an event", "PostgreSQL µs", "Redis µs", "reads a round"]


async def _followed(
    here: Replica,
    there: Sequence[Replica],
    pids: tuple[int, int],
    count_reads: Callable[[], Awaitable[int]],
    times: int,
) -> list[str]:
    runs = [await here.run() for _ in range(20)]
    followers = [await each.broadcaster.subscribe(run.thread_id, 1) for run in runs for each in there]
    await _put(runs, followers, 3)
    used, reads = Used.now(*pids), await count_reads()
    await _put(runs, followers, times)
    cells = Used.now(*pids).cells(used, times * len(runs))
    cells.append(f"{(await count_reads() - reads) / times / max(1, len(there)):.1f}")
    for follower in followers:
        follower.close()
    return cells


async def _put(runs: Sequence[LocalRun], followers: Sequence[Subscription], times: int) -> None:
    """Commit an event of each run, and deliver it to all followers, so many times."""
    for _ in range(times):
        for run in runs:
            run.put(_TOKEN)
        await asyncio.gather(*(run.log.flush() for run in runs))
        await asyncio.gather(*map(_next_event, followers))


async def _next_event(follower: Subscription) -> None:
    async with asyncio.timeout(60):
        while not isinstance(await follower.step(), list):
            pass


@contextlib.asynccontextmanager
async def _replicas(
    dsn: str, folder: Path, carrier: str, others: int
) -> AsyncIterator[tuple[Replica, list[Replica], tuple[int, int], Callable[[], Awaitable[int]]]]:
    """A replica and others, which are connected; the processes of PostgreSQL and of the Redis server; and a
    count of the reads of streams. Raises NoFigure."""
    async with contextlib.AsyncExitStack() as stack:
        redis_pid = 0
        if carrier == CARRIERS[0]:

            def make(pool: Any) -> Wakeups:
                return PostgresWakeups(pool, dsn)

            async def count_reads() -> int:
                return 0
        else:
            if not any(map(shutil.which, PROGRAMS)):
                raise NoFigure(f"none of {', '.join(PROGRAMS)} is installed")
            server = await stack.enter_async_context(redis_server(folder))
            async with server.client() as client:
                redis_pid = int((await client.info("server"))["process_id"])

            def make(pool: Any) -> Wakeups:
                return RedisWakeups(server.url, lambda: read_wakeup_key(pool))

            async def count_reads() -> int:
                async with server.client() as client:
                    return int((await client.info("commandstats"))["cmdstat_xread"]["calls"])

        found = [await stack.enter_async_context(replica(dsn, make)) for _ in range(1 + others)]
        for each in found:
            await until(partial(_is_healthy, each.wakeups))
        yield found[0], found[1:], (await _postgres_pid(dsn), redis_pid), count_reads


def _is_healthy(wakeups: Wakeups) -> bool:
    return wakeups.healthy


async def _postgres_pid(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        parent = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()")).parent()
    finally:
        await connection.close()
    if parent is None:
        raise NoFigure("PostgreSQL's process cannot be seen")
    return int(parent.pid)
