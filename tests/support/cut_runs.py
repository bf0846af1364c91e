"""Runs that clients of other languages follow while their connections are cut; a long one, in which the hub
restarts."""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from operator import gt
from typing import Any

from tests.support.hand_clock import until
from tests.support.hub import RunningHub, running_hub, start
from tests.support.paced_runtime import PacedRuntime
from tests.support.programs import started
from tests.support.proxy import How, Proxy, proxy
from tests.support.runtime import serve_runtime
from tests.support.servers import free_port

CUTS = 100
HOW: tuple[How, ...] = ("reset", "close", "half-close")
#: Each reader opens a stream after each cut.
UNLIMITED = dict.fromkeys(("max_active_runs", "max_creates_per_minute", "max_streams"), 0)


@dataclass
class Reader:
    """A program that prints the seq of each event of a refinement, and at last a digest of them."""

    process: Process
    seqs: list[int] = field(default_factory=list)
    #: What it printed beside the events.
    rest: str = ""

    async def read(self) -> None:
        """Take what it prints, until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            event = re.match(rb"(\d+) ", line)
            if event is not None:
                self.seqs.append(int(event[1]))
            else:
                self.rest += line.decode()
        assert await self.process.wait() == 0, self.rest


async def read_cut_run(dsn: str, programs: Sequence[tuple[Sequence[str], Mapping[str, str]]]) -> list[Reader]:
    """What programs, given as command and environment, read of a run of 2,000 tokens. The connections of all
    are cut a hundred times, each time after every program has got further; the hub restarts halfway.

    The environment says where the run is: IDEO_URL, IDEO_GRPC, IDEO_TOKEN, THREAD.
    """
    runtime = PacedRuntime("long_run")
    ports = {"http_port": free_port(), "grpc_port": free_port()}
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serve_runtime(runtime))
        ways = [await stack.enter_async_context(proxy(port)) for port in ports.values()]
        async with _hub(dsn, address, ports) as hub:
            async with hub.client() as client:
                run = await start(client, "x")
            given = {
                "IDEO_URL": f"http://127.0.0.1:{ways[0].place}",
                "IDEO_GRPC": f"127.0.0.1:{ways[1].place}",
                "IDEO_TOKEN": hub.token(),
                "THREAD": run["thread_id"],
            }
            readers = [
                Reader(await stack.enter_async_context(started(*command, environment={**given, **more})))
                for command, more in programs
            ]
            reading = asyncio.gather(*(reader.read() for reader in readers))
            await _cut(ways, runtime, readers, range(CUTS // 2))
        async with _hub(dsn, address, ports):
            await _cut(ways, runtime, readers, range(CUTS // 2, CUTS))
            runtime.release(1)
            await asyncio.wait_for(reading, 120)
    return readers


async def cut_held_run(
    hub: RunningHub, way: Proxy, runtime: PacedRuntime, *, readers: int = 1, hows: Sequence[How] = HOW
) -> None:
    """Break all connections in each of the ways, each time once so many readers of a run have been answered,
    while the runtime holds back the second half of it; then let it end."""
    try:
        for number, how in enumerate(hows, 1):
            await until(lambda: way.answered >= readers and hub.core.broadcaster.readers >= readers)
            way.break_all(how)
            # Who comes back gets something new, and does not wait ever longer before it comes back again.
            runtime.release((1 + number / len(hows)) / 4)
    finally:
        runtime.release(1)


@asynccontextmanager
async def _hub(dsn: str, runtime_url: str, ports: Mapping[str, int]) -> AsyncIterator[RunningHub]:
    settings: dict[str, Any] = {**ports, **UNLIMITED, "lease_ttl_s": 2}
    async with running_hub(dsn, runtime_url=runtime_url, **settings) as hub:
        yield hub


def _got(readers: Sequence[Reader]) -> list[int]:
    """How many events each has."""
    return [len(reader.seqs) for reader in readers]


async def _cut(
    ways: Sequence[Proxy], runtime: PacedRuntime, readers: Sequence[Reader], numbers: range
) -> None:
    for number in numbers:
        before = _got(readers)
        runtime.release((number + 1) / (CUTS + 1))
        try:
            await until(lambda before=before: all(map(gt, _got(readers), before)), within_s=60)  # type: ignore[misc]
        except TimeoutError:
            raise AssertionError(f"after cut {number}, some do not go on from {_got(readers)}") from None
        for way in ways:
            way.break_all(HOW[number % len(HOW)])
