"""`journal`: how fast events are committed, beside one INSERT each, and how late at 10,000 a second."""

from __future__ import annotations

import dataclasses

from bench.environment import Environment, in_turn
from bench.figures import Stats, Table, ratios
from bench.jobs import run_module
from bench.journaling import Committed, Job

_INSERTS, _JOURNAL = "one INSERT each, one connection", "the hub's journal"


async def measure_journal(environment: Environment, *, quick: bool) -> list[Table]:
    """A row for each way. Raises NoFigure."""
    scale, offered = (1, 1000.0) if quick else (20, 10_000.0)
    # Without a hub that would take the runs over.
    dsn = await environment.create_database("bench_journal")
    paced = f"the hub's journal, {offered:,.0f} a second offered"
    jobs = {
        _INSERTS: Job(dsn, "inserts", 500 * scale, 20),
        _JOURNAL: Job(dsn, "journal", 10_000 * scale, 20),
        paced: Job(dsn, "journal", int(3 * offered), 20, offered),
    }

    async def take(name: str) -> Committed:
        job = dataclasses.asdict(jobs[name])
        return Committed(**await run_module("bench.journaling", job, name, measured=True))

    taken = await in_turn(list(jobs), 1 if quick else 4, take, warm_up=not quick)
    samples = dict(zip(jobs, taken, strict=True))
    rate = {name: [each.events_per_s for each in some] for name, some in samples.items()}
    rows = [
        [
            name,
            Stats.of(rate[name]),
            ratios(rate, name, _INSERTS) if name != paced else "-",
            Stats.of([each.cpu_us for each in some]),
            Stats.of([each.p50_ms for each in some]) if name == paced else "-",
            Stats.of([each.p99_ms for each in some]) if name == paced else "-",
        ]
        for name, some in samples.items()
    ]
    heads = ["", "events/s", "÷ INSERT", "CPU µs an event", "p50 ms to the commit", "p99 ms"]
    return [Table("Events of 20 runs into PostgreSQL, which waits for the disk", heads, rows)]
