"""Events into PostgreSQL, by the hub's journal or by one INSERT each.

`python -m bench.journaling JOB` prints how fast they are committed, as JSON. Runs take turns. The table of
the INSERTs has no more columns and indexes than they need.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import statistics
import sys
import time
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg
import uvloop

from server.clock import SystemClock
from server.db.journal import PostgresJournal
from server.db.pool import open_pool
from server.domain.journal.journal import JournalHead
from server.domain.journal.log import JournalLog
from server.domain.journal.segments import Segment
from tests.support.stored import a_running_run

#: As large as those of tokens: an event, and its frame's difference to the one before.
_EVENT, _DELTA = b"e" * 105, b"d" * 30
#: Events that are put before other tasks get a turn, and seconds between two turns at a pace.
_BURST, _TURN_S = 64, 0.002


@dataclass(frozen=True, slots=True)
class Job:
    """How many events, of how many runs. by: `journal` or `inserts`. events_per_s None: at full speed."""

    dsn: str
    by: str
    events: int
    runs: int
    events_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """From an event's arrival to its commit, in ms, at a pace only. CPU is this process's."""

    events_per_s: float
    cpu_us: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0


class Watch:
    """When events were put, and how late they were committed, in seconds."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self._put_at: dict[UUID, list[float]] = {}
        self._first: dict[UUID, int] = {}

    def put(self, log: JournalLog) -> None:
        """An event is put."""
        self._first.setdefault(log.thread_id, log.last_seq + 1)
        self._put_at.setdefault(log.thread_id, []).append(time.perf_counter())
        log.put(_EVENT, _DELTA, epoch=1)

    def committed(self, thread_id: UUID, segment: Segment, _head: JournalHead) -> None:
        """Events are committed."""
        now, first = time.perf_counter(), self._first[thread_id]
        put_at = self._put_at[thread_id]
        self.late += [now - put_at[seq - first] for seq in range(segment.first_seq, segment.last_seq + 1)]


async def _journal(job: Job) -> Committed:
    watch = Watch()
    async with open_pool(job.dsn) as pool:
        journal = PostgresJournal(pool, SystemClock(), lease_ttl_s=60)
        journal.subscribe(watch.committed)
        logs = [journal.open(await a_running_run(pool)) for _ in range(job.runs)]
        async with journal.writing():
            began, cpu = time.perf_counter(), time.process_time()
            for number in range(job.events):
                log = logs[number % job.runs]
                watch.put(log)
                if job.events_per_s and number >= (time.perf_counter() - began) * job.events_per_s:
                    await asyncio.sleep(_TURN_S)
                elif number % _BURST == 0:
                    await log.wait_for_capacity()
                    await asyncio.sleep(0)
            for log in logs:
                await log.flush()
            seconds, used = time.perf_counter() - began, time.process_time() - cpu
    assert len(watch.late) == job.events
    cuts = statistics.quantiles(watch.late, n=100)
    return Committed(job.events / seconds, used / job.events * 1e6, cuts[49] * 1000, cuts[98] * 1000)


async def _inserts(job: Job) -> Committed:
    connection = await asyncpg.connect(job.dsn)
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS bench_events "
            "(thread_id uuid, seq bigint, event bytea, delta bytea, PRIMARY KEY (thread_id, seq))"
        )
        insert = await connection.prepare("INSERT INTO bench_events VALUES ($1, $2, $3, $4)")
        threads = [uuid4() for _ in range(job.runs)]
        began, cpu = time.perf_counter(), time.process_time()
        for number in range(job.events):
            await insert.fetch(threads[number % job.runs], number // job.runs, _EVENT, _DELTA)
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
        await connection.execute("TRUNCATE bench_events")
    finally:
        await connection.close()
    return Committed(job.events / seconds, used / job.events * 1e6)


if __name__ == "__main__":
    given = Job(**json.loads(sys.argv[1]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run((_journal if given.by == "journal" else _inserts)(given))
    print(json.dumps(dataclasses.asdict(found)))
