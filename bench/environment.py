"""The environment: PostgreSQL, runtime, hub and peers, each a process of its own on the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
import psutil  # type: ignore[import-untyped]

from bench.followers import Addresses, Job, Target
from bench.jobs import run_module
from bench.machine import on_other_cores, on_target_core
from bench.peers.catalogue import PEERS, Absent, Peer, started
from bench.reading import Reading
from server.db.migrate import up
from server.embedded_postgres.server import DATABASE, embedded
from tests.support.processes import UNLIMITED, Process, hub_environment, running
from tests.support.tokens import bearer, token

S = TypeVar("S")
T = TypeVar("T")


@dataclass
class Environment:
    """What is measured, running. `absent` says why a peer is not, `versions` what those that run are."""

    stack: contextlib.AsyncExitStack
    folder: Path
    dsn: str
    postgres_version: str
    addresses: Addresses
    hub: Process
    with_peers: bool
    peers: dict[str, tuple[str, int]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def runtime(self) -> str:
        """The runtime's address."""
        return self.addresses.runtime

    async def start_relays(self) -> None:
        """Start all that can be had."""
        for name, peer in PEERS.items():
            if found := await self.start_peer(peer, self.runtime):
                self.peers[name] = found

    async def start_peer(self, peer: Peer, source: str) -> tuple[str, int] | None:
        """Start a peer on what it serves: its address and its process. None when it cannot be had."""
        if not self.with_peers:
            return None
        folder = self.folder / peer.name
        try:
            found = await self.stack.enter_async_context(started(peer, source, folder))
            self.versions[peer.name] = await asyncio.to_thread(peer.version)
        except Absent as absent:
            self.absent[peer.name] = str(absent)
            return None
        return found

    def hub_socket(self, form: str, hub: Process | None = None) -> Target:
        """The hub's WebSocket in one of its forms: legacy, json or proto."""
        hub = hub or self.hub
        subprotocol = {"legacy": None, "json": "ideo.v1", "proto": "ideo.v1.proto"}[form]
        path = "/api/ws/refinements/{thread}"
        name = f"hub {subprotocol or 'legacy'}"
        return Target(name, form, hub.addresses["HTTP"], path, hub.pid, subprotocol, through_hub=True)

    def hub_grpc(self) -> Target:
        """The hub's WatchRefinement."""
        return Target("hub gRPC", "proto", self.hub.addresses["gRPC"], "", self.hub.pid, through_hub=True)

    def relays(self, path: str = "/stream/{thread}", *, only: Sequence[str] = tuple(PEERS)) -> list[Target]:
        """Those of the named peers that run."""
        return [self.relay(name, self.peers[name], path) for name in only if name in self.peers]

    @staticmethod
    def relay(name: str, peer: tuple[str, int], path: str) -> Target:
        """A peer at an address. nginx has no rooms: each follower has a stream of its own."""
        address, pid = peer
        return Target(name, "frames", address, "/stream/{thread}" if name == "nginx" else path, pid)

    def direct(self) -> Target:
        """The runtime itself, without anything between."""
        address = self.runtime.rpartition("/")[0]
        return Target("direct", "frames", address, "/stream/{thread}", 0)

    async def create_database(self, name: str) -> str:
        """Another database, with the hub's tables, for what must not meet the hub's runs; its DSN."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        dsn = self.dsn.replace(f"/{DATABASE}?", f"/{name}?")
        await up(dsn)
        return dsn

    async def read(self, target: Target, *loads: str, **more: Any) -> Reading:
        """Have a process of its own read runs of the loads; more: fields of Job. Raises NoFigure."""
        job = Job(target, more.pop("at", self.addresses), loads, **more)
        return Reading.of_json(await run_module("bench.reading", dataclasses.asdict(job), target.name))


async def in_turn(
    names: Sequence[T], rounds: int, take: Callable[[T], Awaitable[S]], *, warm_up: bool = True
) -> list[list[S]]:
    """Samples of each, in the order of `names`, taken round by round, so that what the machine does
    meanwhile meets all alike; another one begins each round. The first round warms up and does not count."""
    taken: list[list[S]] = [[] for _ in names]
    for number in range(rounds + warm_up):
        for step in range(len(names)):
            which = (number + step) % len(names)
            sample = await take(names[which])
            if number >= warm_up:
                taken[which].append(sample)
    return taken


def by_name(
    targets: Sequence[Target], taken: Sequence[Sequence[T]], figure: Callable[[T], float]
) -> dict[str, list[float]]:
    """A figure of each target's samples."""
    return {target.name: [figure(each) for each in some] for target, some in zip(targets, taken, strict=True)}


async def _postgres(dsn: str) -> tuple[int, str]:
    """PostgreSQL's first process, and its version."""
    connection = await asyncpg.connect(dsn)
    try:
        parent = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()")).parent()
        version = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    assert parent is not None
    return int(parent.pid), str(version)


async def create_workflow(http_address: str, user: str) -> str:
    """A user's new workflow on a hub; its id."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answer = await http.post(
            f"{http_address}/api/workflows",
            json={"name": "bench"},
            headers=bearer(user),
        )
        answer.raise_for_status()
        return str(answer.json()["id"])


@contextlib.asynccontextmanager
async def open_hub(dsn: str, runtime: str, log: Path, **settings: str) -> AsyncIterator[Process]:
    """A hub on the measured core, with default settings, except for limits, because one user does it all, and
    for the webhooks that it may call."""
    environment = hub_environment(
        dsn,
        runtime,
        **{
            **UNLIMITED,
            "IDEO_RUNTIME_PROFILE": "full",
            "IDEO_MAX_CONNECTIONS": "20000",
            "IDEO_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1",
            **settings,
        },
    )
    del environment["IDEO_LEASE_TTL_S"]  # as it is by default
    async with contextlib.AsyncExitStack() as stack:
        with on_target_core():
            hub = await stack.enter_async_context(running("serve", environment=environment, log=log))
        await hub.serving("HTTP", "gRPC")
        yield hub


@contextlib.asynccontextmanager
async def open_environment(*, with_peers: bool) -> AsyncIterator[Environment]:
    """PostgreSQL as it comes (it waits for the disk), the runtime, the hub, and the peers that are relays."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ideo-bench-")))
        with on_other_cores():
            dsn = await stack.enter_async_context(embedded(folder / "postgres"))
            runtime = await stack.enter_async_context(
                running(module="bench.runtime", environment={}, log=folder / "log")
            )
        await up(dsn)
        await runtime.serving("runtime")
        address = runtime.addresses["runtime"]
        hub = await stack.enter_async_context(open_hub(dsn, address, folder / "log"))
        user = token("bench@example.com", minutes=600)
        workflow_id = await create_workflow(hub.addresses["HTTP"], user)
        pid, version = await _postgres(dsn)
        addresses = Addresses(address, hub.addresses["HTTP"], user, workflow_id, pid)
        environment = Environment(stack, folder, dsn, version, addresses, hub, with_peers)
        await environment.start_relays()
        yield environment
