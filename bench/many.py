"""`many`: what an event costs at the pace of models with thousands of idle runs and followers beside it.

Two hubs, each with a database of its own, take turns; only one has the idle ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator

from bench.environment import Environment, create_workflow, in_turn, open_hub
from bench.figures import Stats, Table, ratios
from bench.followers import Addresses, Job, Target
from bench.reading import Reading
from bench.waiting import waiting

_NONE = "none"


async def measure_many(environment: Environment, *, quick: bool) -> list[Table]:
    """A row without and one with the idle ones. Raises NoFigure."""
    idle_runs, runs, seconds = (20, 5, 1) if quick else (1000, 50, 10)
    some = f"{idle_runs:,} runs, {5 * idle_runs:,} followers"
    async with contextlib.AsyncExitStack() as stack:
        hubs = {
            name: await stack.enter_async_context(_apart(environment, f"bench_{number}"))
            for number, name in enumerate((_NONE, some))
        }
        target, at = hubs[some]
        await stack.enter_async_context(waiting(Job(target, at, ["tokens-1"], idle_runs, 5)))

        async def take(name: str) -> Reading:
            target, at = hubs[name]
            return await environment.read(
                target, f"tokens-{seconds * 20}", at=at, runs=runs, frames_per_s=20.0
            )

        taken = await in_turn(list(hubs), 1 if quick else 4, take, warm_up=not quick)
    samples = dict(zip(hubs, taken, strict=True))
    cpu = {name: [each.cpu_us for each in found] for name, found in samples.items()}
    rows = [
        [
            name,
            Stats.of(cpu[name]),
            ratios(cpu, name, _NONE),
            Stats.of([each.late.p50_ms for each in found]),
            Stats.of([each.late.p99_ms for each in found]),
        ]
        for name, found in samples.items()
    ]
    title = f"{runs} runs of 20 frames a second beside idle runs and followers, `ideo.v1.proto`"
    return [Table(title, ["idle", "CPU µs an event", f"÷ {_NONE}", "p50 ms", "p99 ms"], rows)]


@contextlib.asynccontextmanager
async def _apart(environment: Environment, database: str) -> AsyncIterator[tuple[Target, Addresses]]:
    """A hub with a database of its own."""
    dsn = await environment.create_database(database)
    async with open_hub(dsn, environment.runtime, environment.folder / "log") as hub:
        address = hub.addresses["HTTP"]
        workflow_id = await create_workflow(address, environment.addresses.token)
        at = dataclasses.replace(environment.addresses, hub=address, workflow_id=workflow_id)
        yield environment.hub_socket("proto", hub), at
