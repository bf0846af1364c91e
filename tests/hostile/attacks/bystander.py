"""The other user: calls over every transport, one after the other on each, with the time of every one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import grpc.aio
import httpx

from server.wire import messages as m
from tests.hostile.attacks.sockets import head, place
from tests.support.client import Address, Client, StreamEnded
from tests.support.grpc_interface import Caller
from tests.support.tokens import bearer, token

#: Streams: a refinement is started and followed to its end. The others are a list in JSON, and one over gRPC.
STREAMS = {"WebSocket": "ws-json", "SSE": "sse", "legacy": "ws-legacy", "gRPC stream": "grpc"}
TRANSPORTS = ("JSON", *STREAMS, "gRPC")
#: Seconds between two calls that read, between two refinements of one transport, and between two probes. They
#: leave the hub idle for most of the time: what they wait for is the attack, and not each other.
READ_PAUSE_S, PAUSE_S, PROBE_S = 0.05, 0.15, 0.02
#: Seconds after which a call has failed.
MAX_CALL_S = 30.0
#: Users who take turns, so that none meets its quota of refinements a minute.
USERS = 12


@dataclass(frozen=True)
class Call:
    """A call. `error`: none if it succeeded."""

    ended_at: float
    seconds: float
    error: str = ""


@dataclass
class Calls:
    """The calls of each transport, and the probes of /healthz."""

    of: dict[str, list[Call]] = field(default_factory=lambda: {name: [] for name in TRANSPORTS})
    probes: list[Call] = field(default_factory=list)

    def between(self, since: float, until: float) -> Calls:
        """Those that ended in that time."""
        return self._those(lambda each: since <= each.ended_at < until)

    def under_way(self, since: float, until: float) -> Calls:
        """Those that were under way in that time, whenever they ended."""
        return self._those(lambda each: since <= each.ended_at and each.ended_at - each.seconds < until)

    def _those(self, chosen: Callable[[Call], bool]) -> Calls:
        return Calls(
            {name: list(filter(chosen, calls)) for name, calls in self.of.items()},
            list(filter(chosen, self.probes)),
        )


@asynccontextmanager
async def bystander(hub: Address) -> AsyncIterator[Calls]:
    """Call all the time, until the block ends. Calls that last are waited for."""
    calls, stop = Calls(), asyncio.Event()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=MAX_CALL_S)
        )
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(hub.grpc))
        steps = await _steps(client, channel, hub)
        running = [
            asyncio.create_task(
                _repeat(step, calls.of[name], PAUSE_S if name in STREAMS else READ_PAUSE_S, stop)
            )
            for name, step in steps.items()
        ]
        running.append(asyncio.create_task(_repeat(_probe(hub), calls.probes, PROBE_S, stop)))
        try:
            yield calls
        finally:
            stop.set()
            await asyncio.gather(*running)


async def _steps(
    http: httpx.AsyncClient, channel: grpc.aio.Channel, hub: Address
) -> dict[str, Callable[[], Awaitable[None]]]:
    tokens = [token(f"other{number}@example.com") for number in range(USERS)]
    workflows = []
    for each in tokens:
        made = await http.post("/api/workflows", json={"name": "w"}, headers=bearer(each))
        workflows.append(made.raise_for_status().json()["id"])
    caller: Any = Caller(channel, tokens[0])

    async def listed() -> None:
        (await http.get("/api/proposals?limit=5", headers=bearer(tokens[0]))).raise_for_status()

    async def listed_over_grpc() -> None:
        request = m.ListProposalsRequest(page_size=5)
        await caller.proposals.ListProposals(request, metadata=caller.metadata, timeout=MAX_CALL_S)

    def followed(way: str) -> Callable[[], Awaitable[None]]:
        users = cycle(zip(tokens, workflows, strict=True))

        async def follow() -> None:
            user, workflow = next(users)
            path, job = f"/api/workflows/{workflow}/refinements", {"user_prompt": "go on"}
            started = await http.post(path, json=job, headers=bearer(user))
            thread_id = started.raise_for_status().json()["thread_id"]
            async for _ in Client(hub, user, quiet_s=MAX_CALL_S).follow(way, thread_id):
                pass

        return follow

    return {
        "JSON": listed,
        "gRPC": listed_over_grpc,
        **{name: followed(way) for name, way in STREAMS.items()},
    }


async def _repeat(
    step: Callable[[], Awaitable[None]], calls: list[Call], pause_s: float, stop: asyncio.Event
) -> None:
    while not stop.is_set():
        began, error = time.monotonic(), ""
        try:
            async with asyncio.timeout(MAX_CALL_S):
                await step()
        except (StreamEnded, OSError, httpx.HTTPError, grpc.aio.AioRpcError) as failure:
            error = _text(failure)
        calls.append(Call(time.monotonic(), time.monotonic() - began, error))
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await stop.wait()


def _text(failure: Exception) -> str:
    if isinstance(failure, grpc.aio.AioRpcError):
        return f"gRPC {failure.code().name}"
    if isinstance(failure, httpx.HTTPStatusError):
        return f"HTTP {failure.response.status_code}"
    return str(failure) or type(failure).__name__


def _probe(hub: Address) -> Callable[[], Awaitable[None]]:
    """Asks for /healthz on a new connection each time, as a kubelet does."""

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(*place(hub.http))
        try:
            writer.write(head("/healthz", more=["Connection: close"]))
            status = (await reader.read(1 << 16))[9:12]
            if status != b"200":
                raise StreamEnded(f"HTTP {status.decode('latin-1')}")
        finally:
            writer.transport.abort()

    return ask
