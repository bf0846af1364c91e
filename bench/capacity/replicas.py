"""`replicas`: what an event costs each replica that follows it, by PostgreSQL and by a Redis server.
`followed`: the same while the replica also follows runs that are idle, and the memory of these.
`loop`: what an event costs one replica, the more runs it drives.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bench.capacity.remote import Cost, Remote
from bench.environment import Environment, create_workflow, open_hub
from bench.figures import NoFigure, Stats, Table
from bench.followers import Addresses, Job, Target
from bench.jobs import run_module
from bench.machine import on_other_cores, resident_kib
from bench.waiting import waiting
from tests.support.redis_server import PROGRAMS, RedisServer

_CARRIERS = ("LISTEN/NOTIFY", "Redis streams")
_HEADS = ["µs driver", "µs a follower's replica", "µs PostgreSQL", "µs Redis", "p50 ms", "p99 ms"]


@dataclass(frozen=True, slots=True)
class Replicas:
    """Replicas of one database: the first one drives."""

    at: Addresses
    targets: list[Target]
    carrier_pid: int


async def measure_replicas(environment: Environment, *, quick: bool) -> list[Table]:
    """A row for each carrier and number of replicas. Raises NoFigure."""
    runs, seconds, rounds = (2, 1, 1) if quick else (20, 5, 3)
    rows: list[list[str | Stats]] = []
    for carrier in _CARRIERS:
        for others in (1,) if quick else (0, 1, 2, 4):
            async with _replicas(environment, carrier, others) as replicas:
                costs = [await _take(replicas, runs, seconds) for _ in range(rounds)]
            rows.append([carrier, str(others), *_cells(costs)])
    title = f"{runs} runs of 20 frames a second; other replicas have a follower of each; CPU an event"
    return [Table(title, ["wake-ups", "other replicas", *_HEADS], rows)]


async def measure_followed(environment: Environment, *, quick: bool) -> list[Table]:
    """A row for each carrier and number of idle runs. Raises NoFigure."""
    runs, seconds, rounds = (2, 1, 1) if quick else (20, 5, 3)
    rows: list[list[str | Stats]] = []
    for carrier in _CARRIERS:
        async with _replicas(environment, carrier, 1) as replicas:
            driver, other = replicas.targets
            for idle in (0, 10) if quick else (0, 250, 1000):
                before = [resident_kib(each.pid) for each in (driver, other)]
                async with contextlib.AsyncExitStack() as stack:
                    kib: list[str | Stats] = ["-", "-"]
                    if idle:
                        await stack.enter_async_context(
                            waiting(Job(other, replicas.at, ["tokens-1"], idle, 1))
                        )
                        after = [resident_kib(each.pid) for each in (driver, other)]
                        more = zip(before, after, strict=True)
                        kib = [f"{(now - then) / idle:.1f}" for then, now in more]
                    costs = [await _take(replicas, runs, seconds) for _ in range(rounds)]
                rows.append([carrier, f"{idle:,}", *_cells(costs), *kib])
    title = f"The same with one other replica, which also follows idle runs"
    heads = ["wake-ups", "idle runs", *_HEADS, "KiB a run, driver", "KiB a run, follower's replica"]
    return [Table(title, heads, rows)]


async def measure_loop(environment: Environment, *, quick: bool) -> list[Table]:
    """A row for each number of runs. Raises NoFigure."""
    seconds, rounds = (1, 1) if quick else (5, 3)
    target, rows = environment.hub_socket("proto"), []
    for runs in (2, 4) if quick else (25, 50, 100, 200, 400):
        load = f"tokens-{20 * seconds}"
        taken = [await environment.read(target, load, runs=runs, frames_per_s=20.0) for _ in range(rounds)]
        rows.append(
            [
                str(runs),
                Stats.of([each.events / each.seconds for each in taken]),
                Stats.of([each.cpu_us for each in taken]),
                Stats.of([each.used.cpu_s / each.seconds for each in taken]),
                Stats.of([each.postgres_us for each in taken]),
                Stats.of([each.late.p50_ms for each in taken]),
                Stats.of([each.late.p99_ms for each in taken]),
            ]
        )
    heads = ["runs", "events/s", "CPU µs an event", "share of a core", "PostgreSQL CPU µs", "p50 ms", "p99 ms"]
    return [Table("One replica, runs of 20 frames a second, a follower each", heads, rows)]


async def _take(replicas: Replicas, runs: int, seconds: int) -> Cost:
    driver, *others = replicas.targets
    job = Remote(replicas.at, driver, others, replicas.carrier_pid, f"tokens-{20 * seconds}", runs, 20.0)
    return Cost(**await run_module("bench.capacity.remote", dataclasses.asdict(job), driver.name))


def _cells(costs: list[Cost]) -> list[str | Stats]:
    names = [field.name for field in dataclasses.fields(Cost)]
    return [Stats.of([getattr(each, name) for each in costs]) for name in names]


@contextlib.asynccontextmanager
async def _replicas(environment: Environment, carrier: str, others: int) -> AsyncIterator[Replicas]:
    """New replicas with a database of their own."""
    number = len(environment.versions)
    environment.versions[f"database {number}"] = carrier
    dsn = await environment.create_database(f"bench_replicas_{number}")
    async with contextlib.AsyncExitStack() as stack:
        settings, pid = {}, 0
        if carrier != _CARRIERS[0]:
            url, pid = await stack.enter_async_context(_redis(environment))
            settings = {"IDEO_WAKEUP_URL": url}
        hubs = [
            await stack.enter_async_context(
                open_hub(dsn, environment.runtime, environment.folder / "log", **settings)
            )
            for _ in range(1 + others)
        ]
        address = hubs[0].addresses["HTTP"]
        workflow_id = await create_workflow(address, environment.addresses.token)
        at = dataclasses.replace(environment.addresses, hub=address, workflow_id=workflow_id)
        yield Replicas(at, [environment.hub_socket("proto", hub) for hub in hubs], pid)


@contextlib.asynccontextmanager
async def _redis(environment: Environment) -> AsyncIterator[tuple[str, int]]:
    """A Redis-protocol server: its address and process. Raises NoFigure."""
    program = next(filter(shutil.which, PROGRAMS), None)
    if program is None:
        raise NoFigure(f"none of {', '.join(PROGRAMS)} is installed")
    server = RedisServer(program, environment.folder)
    with on_other_cores():
        await server.start()
    try:
        async with server.client() as client:
            pid = int((await client.info("server"))["process_id"])
        yield server.url, pid
    finally:
        await server.kill()
