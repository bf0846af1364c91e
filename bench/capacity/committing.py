"""Commits of the hub's journal at the pace of models. `python -m bench.capacity.committing JOB` prints their cost.

The runs are divided among writers, each of which has a connection of its own, as the replicas have.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import dataclass

import asyncpg

from bench.jobs import answer
from bench.journaling import Watch
from bench.machine import tree_cpu_seconds
from server.clock import SystemClock
from server.db.journal import PostgresJournal
from server.db.pool import open_pool
from tests.support.stored import a_running_run

_TURN_S = 0.002
_POSITION = "SELECT pg_current_wal_insert_lsn() - '0/0', pg_total_relation_size('events')"


@dataclass(frozen=True, slots=True)
class Job:
    """Events of runs, each at that pace, for so many seconds."""

    dsn: str
    postgres_pid: int
    runs: int
    writers: int
    events_per_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Commits:
    """Per second: events and commits. An event's bytes of WAL, and of the table with its indexes. A commit's CPU
    in PostgreSQL, and an event's. How late events are committed."""

    events_per_s: float
    commits_per_s: float
    events_a_commit: float
    wal_bytes: float
    table_bytes: float
    commit_us: float
    event_us: float
    hub_event_us: float
    p50_ms: float
    p99_ms: float


async def commit(job: Job) -> Commits:
    """Do the job."""
    watch, commits = Watch(), 0

    def count(_seconds: float, _lag_s: float) -> None:
        nonlocal commits
        commits += 1

    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(job.dsn))
        journals = [
            PostgresJournal(pool, SystemClock(), lease_ttl_s=60, on_commit_time=count)
            for _ in range(job.writers)
        ]
        for journal in journals:
            journal.subscribe(watch.committed)
        logs = [
            journals[number % job.writers].open(await a_running_run(pool)) for number in range(job.runs)
        ]
        for journal in journals:
            await stack.enter_async_context(journal.writing())
        looking = await asyncpg.connect(job.dsn)
        await looking.execute("CHECKPOINT")
        first = await looking.fetchrow(_POSITION)
        postgres, cpu = tree_cpu_seconds(job.postgres_pid), time.process_time()
        began, rate = time.perf_counter(), job.runs * job.events_per_s
        events = int(rate * job.seconds)
        for number in range(events):
            watch.put(logs[number % job.runs])
            while number >= (time.perf_counter() - began) * rate:
                await asyncio.sleep(_TURN_S)
        for log in logs:
            await log.flush()
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
        postgres = tree_cpu_seconds(job.postgres_pid) - postgres
        last = await looking.fetchrow(_POSITION)
        await looking.close()
    late = sorted(watch.late)
    return Commits(
        events / seconds,
        commits / seconds,
        events / commits,
        float(last[0] - first[0]) / events,
        (last[1] - first[1]) / events,
        postgres / commits * 1e6,
        postgres / events * 1e6,
        used / events * 1e6,
        late[len(late) // 2] * 1000,
        late[len(late) * 99 // 100] * 1000,
    )


if __name__ == "__main__":
    sys.exit(answer(commit(Job(**json.loads(sys.argv[1])))))
