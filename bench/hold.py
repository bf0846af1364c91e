"""`hold`: how long a 16 MiB state frame holds up the tokens of 100 other runs, and the hub's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.environment import Environment, in_turn
from bench.figures import Stats, Table
from bench.reading import Reading

#: Seconds between two questions to the hub, each of which needs a turn of its loop.
_EVERY_S = 0.005


@dataclass(frozen=True, slots=True)
class Held:
    """The tokens' reading, and the hub's longest answer to what it answers at once, in seconds."""

    tokens: Reading
    answer_s: float


async def measure_hold(environment: Environment, *, quick: bool) -> list[Table]:
    """A row without and one with the large frame. Raises NoFigure."""
    runs, seconds, mib = (10, 2, 1) if quick else (100, 6, 16)
    target = environment.hub_socket("proto")

    async def large() -> None:
        await asyncio.sleep(seconds / 3)
        await environment.read(target, f"state-{mib}-mib")

    async def take(with_large: bool) -> Held:
        async with _asking(environment.addresses.hub) as longest:
            beside = asyncio.create_task(large()) if with_large else None
            tokens = await environment.read(target, f"tokens-{seconds * 10}", runs=runs, frames_per_s=10.0)
            if beside is not None:
                await beside
        return Held(tokens, longest[0])

    cases = {"none": False, f"one of {mib} MiB": True}
    taken = await in_turn(list(cases.values()), 1 if quick else 4, take, warm_up=False)
    rows: list[list[str | Stats]] = [
        [
            name,
            Stats.of([1000 * each.answer_s for each in some]),
            Stats.of([each.tokens.late.max_ms for each in some]),
            Stats.of([each.tokens.late.p99_ms for each in some]),
            Stats.of([each.tokens.late.p50_ms for each in some]),
        ]
        for name, some in zip(cases, taken, strict=True)
    ]
    heads = ["state frame", "longest hold of the loop, ms", "slowest token ms", "p99 ms", "p50 ms"]
    note = (
        "The longest hold is the longest answer of `/healthz`, which is asked every 5 ms. What else runs on "
        "the machine adds to it."
    )
    return [Table(f"A large state frame beside {runs} runs of 10 tokens a second", heads, rows, note)]


@contextlib.asynccontextmanager
async def _asking(hub: str) -> AsyncIterator[list[float]]:
    """Ask the hub whether it is alive, again and again; yields a list with the longest answer so far."""
    longest = [0.0]
    asking = asyncio.create_task(_ask_forever(hub, longest))
    try:
        yield longest
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _ask_forever(hub: str, longest: list[float]) -> None:
    at = urlsplit(hub)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    request = f"GET /healthz HTTP/1.1\r\nHost: {at.netloc}\r\n\r\n".encode()
    while True:
        asked_at = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(size.split(b":")[1]))
        longest[0] = max(longest[0], time.perf_counter() - asked_at)
        await asyncio.sleep(_EVERY_S)
