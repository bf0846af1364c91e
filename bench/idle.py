"""`idle`: the memory of a follower that waits for a run's next event, in a fresh server each time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.environment import Environment, in_turn, open_hub
from bench.figures import Stats, Table, ratios
from bench.followers import Job
from bench.machine import resident_kib
from bench.peers.catalogue import PEERS, started
from bench.waiting import waiting

#: Those that are there first: what a server allocates once for all.
_FIRST = 50
_HUB = "hub ideo.v1.proto"


async def measure_idle(environment: Environment, *, quick: bool) -> list[Table]:
    """A row for each server. Raises NoFigure."""
    followers = 100 if quick else 1000
    names = [*environment.peers, _HUB]
    taken = await in_turn(
        names, 1 if quick else 3, lambda name: _kib_a_follower(environment, name, followers), warm_up=False
    )
    samples = dict(zip(names, taken, strict=True))
    rows = [
        [name, Stats.of(samples[name]), *(ratios(samples, name, to) for to in ("Go", "Bun"))]
        for name in names
    ]
    title = f"Memory of an idle follower, {followers:,} of one run"
    note = "nginx has a connection to the runtime for each. Memory of the kernel for sockets is not in."
    return [Table(title, ["", "KiB", "÷ Go", "÷ Bun"], rows, note)]


async def _kib_a_follower(environment: Environment, name: str, followers: int) -> float:
    async with _fresh(environment, name) as job, waiting(dataclasses.replace(job, followers=_FIRST)):
        before = resident_kib(job.target.pid)
        async with waiting(dataclasses.replace(job, followers=followers)):
            await asyncio.sleep(1)
            return (resident_kib(job.target.pid) - before) / followers


@asynccontextmanager
async def _fresh(environment: Environment, name: str) -> AsyncIterator[Job]:
    """A server that has just begun, and a job for it."""
    at, load = environment.addresses, ("tokens-1",)
    with TemporaryDirectory(dir=environment.folder) as folder:
        if name == _HUB:
            async with open_hub(environment.dsn, at.runtime, Path(folder) / "log") as hub:
                here = dataclasses.replace(at, hub=hub.addresses["HTTP"])
                yield Job(environment.hub_socket("proto", hub), here, load)
        else:
            async with started(PEERS[name], at.runtime, Path(folder) / "peer") as peer:
                yield Job(environment.relay(name, peer, "/fan/{thread}"), at, load)
