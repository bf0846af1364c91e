"""`grpc`: gRPC beside grpc.aio and grpc-go with one event in each message, and beside the hub's WebSocket.

`python -m bench.rpc JOB` prints what one process of clients needed, as JSON.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio

from bench.environment import Environment, by_name, in_turn
from bench.figures import Stats, Table, ratios
from bench.followers import CHANNEL
from bench.jobs import answer, run_module
from bench.machine import cpu_seconds
from bench.peers.catalogue import GRPC_AIO, GRPC_GO
from bench.prepared import Prepared, prepare
from bench.readers import Incomplete, check_proto
from ide_orchestrator.v1.refinement_pb2 import GetRefinementRequest
from server.cli.hub_client import open_client
from tests.support.client import grpc_messages
from tests.support.tokens import token

_HUB = "hub gRPC"
_AT_ONCE = 8
#: Who call in turn: the hub holds each user to 200 calls a second (ADR 0018), and that is not measured here.
_USERS = 32


@dataclass(frozen=True, slots=True)
class Job:
    """Watchers of a thread of so many events, each on a connection of its own; or calls of GetRefinement.
    tokens: of the users who watch or call, in turn."""

    address: str
    pid: int
    tokens: Sequence[str]
    thread: str
    events: int
    watchers: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Served:
    """Events or calls in a second, and the server's CPU for one."""

    per_s: float
    cpu_us: float


async def measure_grpc(environment: Environment, *, quick: bool) -> list[Table]:
    """Reading what is there, reading what comes, and a call. Raises NoFigure."""
    run = await prepare(environment, "tokens-200" if quick else "tokens-2000")
    tokens = await _readers(environment, run.thread)
    servers = {_HUB: (environment.hub.addresses["gRPC"], environment.hub.pid)}
    for peer in (GRPC_AIO, GRPC_GO):
        if found := await environment.start_peer(peer, str(run.file)):
            servers[peer.name] = found
    rounds = 1 if quick else 4
    return [
        await _served(servers, tokens, run, rounds, watchers=2 if quick else 20),
        await _served(servers, tokens, run, rounds, calls=200 if quick else 3000),
        await _live(environment, rounds, quick=quick),
    ]


async def _readers(environment: Environment, thread: str) -> list[str]:
    """Tokens of users who may read the thread."""
    tokens = [token(f"reader-{number}@example.com", minutes=600) for number in range(_USERS)]
    url = environment.hub.addresses["HTTP"]
    async with open_client(url, environment.addresses.token) as owner:
        refinement = await owner.call("GET", f"/api/refinements/{thread}")
        access = f"/api/proposals/{refinement['proposal_id']}/access"
        for each in tokens:
            async with open_client(url, each) as reader:
                user = await reader.call("GET", "/api/me")
            await owner.call("PUT", f"{access}/{user['user_id']}", {"access_type": "viewer"})
    return tokens


async def _served(
    servers: dict[str, tuple[str, int]],
    tokens: Sequence[str],
    run: Prepared,
    rounds: int,
    *,
    watchers: int = 0,
    calls: int = 0,
) -> Table:
    async def take(name: str) -> Served:
        job = Job(*servers[name], tokens, run.thread, run.events, watchers, calls)
        return Served(**await run_module("bench.rpc", dataclasses.asdict(job), name))

    taken = dict(zip(servers, await in_turn(list(servers), rounds, take), strict=True))
    rate = {name: [each.per_s for each in some] for name, some in taken.items()}
    cpu = {name: [each.cpu_us for each in some] for name, some in taken.items()}
    rows = [
        [
            name,
            Stats.of(rate[name]),
            ratios(rate, name, GRPC_AIO.name),
            Stats.of(cpu[name]),
            ratios(cpu, name, GRPC_AIO.name),
        ]
        for name in servers
    ]
    what, title = ("event", f"gRPC: {watchers} watchers of a run that has ended, {run.events:,} events")
    note = "The reader is written in Python: it is the limit of the rate of grpc-go, but not of its CPU."
    if calls:
        what, title, note = "call", f"gRPC: GetRefinement of {_USERS} users, {_AT_ONCE} calls at a time", ""
    to = f"÷ {GRPC_AIO.name}"
    return Table(title, ["", f"{what}s/s", to, f"CPU µs a{'n' * (not calls)} {what}", to], rows, note)


async def _live(environment: Environment, rounds: int, *, quick: bool) -> Table:
    """One run at a pace to many followers, over gRPC and over the WebSocket."""
    followers, frames, per_s = (20, 20, 20.0) if quick else (200, 100, 20.0)
    targets = [environment.hub_socket("proto"), environment.hub_grpc()]
    taken = await in_turn(
        targets,
        rounds,
        lambda target: environment.read(target, f"tokens-{frames}", followers=followers, frames_per_s=per_s),
        warm_up=False,
    )
    cpu = by_name(targets, taken, lambda each: each.cpu_us)
    rows = [
        [
            target.name,
            Stats.of(cpu[target.name]),
            ratios(cpu, target.name, targets[0].name),
            Stats.of([each.late.p50_ms for each in some]),
            Stats.of([each.late.p99_ms for each in some]),
        ]
        for target, some in zip(targets, taken, strict=True)
    ]
    heads = ["", "CPU µs a delivery", "÷ WebSocket", "p50 ms", "p99 ms"]
    return Table(f"One run of {per_s:.0f} frames a second to {followers} followers, live", heads, rows)


async def _watch(job: Job) -> Served:
    """Raises Incomplete."""
    channels = [grpc.aio.insecure_channel(job.address, options=CHANNEL) for _ in range(job.watchers)]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))

    async def read(channel: grpc.aio.Channel, user: str) -> list[bytes]:
        return [message async for message in grpc_messages(channel, user, job.thread)]

    began, cpu = time.perf_counter(), cpu_seconds(job.pid)
    streams = await asyncio.gather(*map(read, channels, itertools.cycle(job.tokens)))
    seconds, used = time.perf_counter() - began, cpu_seconds(job.pid) - cpu
    if any(check_proto(stream, ()) != job.events for stream in streams):
        raise Incomplete(f"a stream has not {job.events} events")
    events = job.events * job.watchers
    return Served(events / seconds, used / events * 1e6)


async def _call(job: Job) -> Served:
    request = GetRefinementRequest(thread_id=job.thread).SerializeToString()
    callers = itertools.cycle([(("authorization", f"Bearer {each}"),) for each in job.tokens])
    async with grpc.aio.insecure_channel(job.address, options=CHANNEL) as channel:
        get: Any = channel.unary_unary("/ide_orchestrator.v1.RefinementService/GetRefinement")
        await asyncio.gather(*(get(request, metadata=next(callers)) for _ in job.tokens))

        async def caller() -> None:
            for _ in range(job.calls // _AT_ONCE):
                await get(request, metadata=next(callers))

        began, cpu = time.perf_counter(), cpu_seconds(job.pid)
        await asyncio.gather(*(caller() for _ in range(_AT_ONCE)))
        seconds, used = time.perf_counter() - began, cpu_seconds(job.pid) - cpu
    calls = job.calls // _AT_ONCE * _AT_ONCE
    return Served(calls / seconds, used / calls * 1e6)


if __name__ == "__main__":
    given = Job(**json.loads(sys.argv[1]))
    sys.exit(answer(_call(given) if given.calls else _watch(given)))
