"""`commits`: what commits cost PostgreSQL, with 50, 200 and 1,000 runs, of one writer and of four.
`ended`: what a page of an ended run costs, whole and unchanged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import httpx

from bench.capacity.committing import Commits, Job
from bench.environment import Environment
from bench.figures import NoFigure, Stats, Table
from bench.jobs import run_module
from bench.machine import cpu_seconds, tree_cpu_seconds
from bench.prepared import prepare
from tests.support.tokens import bearer

_COLUMNS = {
    "events_per_s": "events/s",
    "commits_per_s": "commits/s",
    "events_a_commit": "events a commit",
    "commit_us": "PostgreSQL µs a commit",
    "event_us": "PostgreSQL µs an event",
    "hub_event_us": "hub µs an event",
    "wal_bytes": "WAL bytes an event",
    "table_bytes": "table bytes an event",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
}


async def measure_commits(environment: Environment, *, quick: bool) -> list[Table]:
    """A row for each number of runs and writers. Raises NoFigure."""
    dsn, pid = await environment.create_database("bench_commits"), environment.addresses.postgres_pid
    seconds, rounds = (0.5, 1) if quick else (5.0, 2)
    rows: list[list[str | Stats]] = []
    for runs, writers in ((5, 1),) if quick else ((50, 1), (200, 1), (1000, 1), (200, 4), (1000, 4)):
        job = dataclasses.asdict(Job(dsn, pid, runs, writers, 20.0, seconds))
        taken = [
            Commits(**await run_module("bench.capacity.committing", job, f"{runs} runs", measured=True))
            for _ in range(rounds)
        ]
        rows.append(
            [f"{runs:,}", str(writers), *(Stats.of([getattr(each, name) for each in taken]) for name in _COLUMNS)]
        )
    title = "The hub's journal, runs of 20 events a second"
    return [Table(title, ["runs", "writers", *_COLUMNS.values()], rows)]


async def measure_ended(environment: Environment, *, quick: bool) -> list[Table]:
    """A row for each way to ask. Raises NoFigure."""
    run = await prepare(environment, "tokens-200" if quick else "tokens-1000")
    times = 20 if quick else 500
    url = f"{environment.addresses.hub}/api/refinements/{run.thread}/stream"
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        headers = bearer(environment.addresses.token)
        first = (await http.get(url, headers=headers)).raise_for_status()
        ways = {"the page": headers, "If-None-Match: 304": {**headers, "If-None-Match": first.headers["etag"]}}
        rows = [
            [way, *(await _asked(environment, http, url, given, times, 304 if "304" in way else 200))]
            for way, given in ways.items()
        ]
    title = f"The first page of an ended run of {run.events:,} events, {first.headers['cache-control']}"
    return [Table(title, ["asked for", "hub CPU µs", "PostgreSQL CPU µs", "bytes"], rows)]


async def _asked(
    environment: Environment,
    http: httpx.AsyncClient,
    url: str,
    headers: Mapping[str, str],
    times: int,
    status: int,
) -> list[str | Stats]:
    hub, postgres = [], []
    for _ in range(4):
        before = cpu_seconds(environment.hub.pid), tree_cpu_seconds(environment.addresses.postgres_pid)
        for _ in range(times):
            answer = await http.get(url, headers=headers)
            if answer.status_code != status:
                raise NoFigure(f"status {answer.status_code} instead of {status}")
        hub.append((cpu_seconds(environment.hub.pid) - before[0]) / times * 1e6)
        postgres.append(
            (tree_cpu_seconds(environment.addresses.postgres_pid) - before[1]) / times * 1e6
        )
    return [Stats.of(hub), Stats.of(postgres), f"{len(answer.content):,}"]
