"""Readers that catch up: what they read is in no memory, and is read and made for each of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from itertools import cycle
from random import Random

from server.wire import messages as m
from tests.hostile.attacks import http2
from tests.hostile.attacks.attack import Aim, Family, told
from tests.hostile.attacks.frames import play
from tests.hostile.attacks.http2 import connection, message
from tests.hostile.attacks.recordings import OLD_RUNS
from tests.hostile.attacks.sockets import BLOCK, event_stream, head, place, upgrade

FAMILY = Family("readers that catch up")
#: The request of a reader of a thread, after a cursor.
_Ask = Callable[[str, int], bytes]
#: Seconds of one reader, and until the next one comes.
READER_S, AGAIN_S = 3.0, 0.02


async def _drink(aim: Aim, asks: list[_Ask], readers: int, *, reader_s: float = READER_S) -> str:
    """Readers of old runs from random places, again and again: each takes what comes, as fast as it can."""
    until, random, ends, taken = time.monotonic() + aim.seconds, Random(7), Counter[str](), 0
    runs = [aim.stored[name] for name in OLD_RUNS]

    async def once(number: int) -> None:
        nonlocal taken
        run = random.choice(runs)
        reader, writer = await asyncio.open_connection(*place(aim.http))
        status = b""
        try:
            writer.write(asks[number % len(asks)](run.thread_id, random.randrange(run.events)))
            while data := await reader.read(BLOCK):
                status = status or data[9:12]
                taken += len(data)
        finally:
            ends[status.decode("latin-1") or "no answer"] += 1
            writer.transport.abort()

    async def again(number: int) -> None:
        while (left_s := until - time.monotonic()) > 0:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(min(left_s, reader_s)):
                    await once(number)
            await asyncio.sleep(AGAIN_S)

    await asyncio.gather(*map(again, range(readers)))
    return f"{told(ends)}; {taken / 2**20:.0f} MiB taken"


@FAMILY.attack(reads=OLD_RUNS)
async def readers_of_old_runs(aim: Aim) -> str:
    """60 readers in JSON, over WebSocket and SSE, come to random places of eight finished runs with 20,000
    pieces of tool calls each, again and again."""
    return await _drink(
        aim,
        [
            lambda thread, after: upgrade(thread, aim.token, "ideo.v1", after),
            lambda thread, after: event_stream(thread, aim.token, after),
        ],
        60,
    )


@FAMILY.attack(reads=OLD_RUNS)
async def readers_of_old_legacy_frames(aim: Aim) -> str:
    """60 readers of legacy frames come to random places of the same runs, again and again."""
    return await _drink(aim, [lambda thread, after: upgrade(thread, aim.token, None, after)], 60)


@FAMILY.attack(reads=OLD_RUNS)
async def readers_in_every_form(aim: Aim) -> str:
    """120 readers come to random places of the same runs: WebSockets in each form, SSE, pages, durable
    streams."""
    forms: list[str | None] = ["ideo.v1", "ideo.v1.proto", None]
    asks: list[_Ask] = [
        lambda thread, after, form=form: upgrade(thread, aim.token, form, after)  # type: ignore[misc]
        for form in forms
    ]
    pages = ("events?limit=1000&after={}", "stream?offset={:010d}")
    asks += [
        lambda thread, after, page=page: head(  # type: ignore[misc]
            f"/api/refinements/{thread}/{page.format(after)}", aim.token, more=["Connection: close"]
        )
        for page in pages
    ]
    asks.append(lambda thread, after: event_stream(thread, aim.token, after))
    return await _drink(aim, asks, 120)


@FAMILY.attack(reads=OLD_RUNS)
async def readers_by_many_links(aim: Aim) -> str:
    """80 readers in JSON come to random places of the same runs, each with one of an account's 40 share
    links."""
    links: dict[str, list[str]] = {}
    async with aim.client() as http:
        for run in [aim.stored[name] for name in OLD_RUNS] * 5:
            made = await http.post(f"/api/proposals/{run.proposal_id}/shares", json={})
            links.setdefault(run.thread_id, []).append(made.json()["secret"])
    turns = {thread: cycle(secrets) for thread, secrets in links.items()}
    ask: _Ask = lambda thread, after: upgrade(thread, next(turns[thread]), "ideo.v1", after)  # noqa: E731
    return await _drink(aim, [ask], 80)


@FAMILY.attack()
async def readers_of_a_live_run(aim: Aim) -> str:
    """450 readers, over SSE, gRPC, and WebSockets in every form, follow a run that sends 100 tokens a
    second."""
    running = asyncio.ensure_future(play(aim, "long_run speed=5", at_once=1, max_runs=1))
    taken = 0

    async def take(first: bytes) -> None:
        nonlocal taken
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(*place(aim.http))
            try:
                writer.write(first)
                while data := await reader.read(BLOCK):
                    taken += len(data)
            finally:
                writer.transport.abort()

    try:
        async with aim.client() as http, AsyncExitStack() as stack:
            await asyncio.sleep(0.5)
            thread_id = (await http.get("/api/proposals?limit=1")).json()["items"][0]["thread_id"]
            forms = [*(upgrade(thread_id, aim.token, form) for form in ("ideo.v1", "ideo.v1.proto", None))]
            forms.append(event_stream(thread_id, aim.token))
            reading = [asyncio.ensure_future(take(forms[number % 4])) for number in range(250)]
            request = message(m.WatchRefinementRequest(thread_id=thread_id).SerializeToString())
            for _ in range(2):
                made = await stack.enter_async_context(connection(aim.grpc, window=1 << 30))
                for _ in range(100):
                    made.call(http2.WATCH, aim.token, request, ends=True)
                await made.drain()
            await asyncio.wait(reading, timeout=aim.seconds - 0.5)
            left = sum(not each.done() for each in reading)
            for each in reading:
                each.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return f"{left} of 250 readers over HTTP to the end; {taken / 2**20:.1f} MiB taken"


@FAMILY.attack(plays=("open-pieces",))
async def readers_of_one_event(aim: Aim) -> str:
    """An account asks for one event at random places of a run of 50,000 that goes on, on 50 connections."""
    running = asyncio.ensure_future(play(aim, "open-pieces", at_once=1, max_runs=1))
    found, random = Counter[int](), Random(7)
    until = time.monotonic() + aim.seconds
    try:
        async with aim.client() as http:
            await asyncio.sleep(1.5)
            thread_id = (await http.get("/api/proposals?limit=1")).json()["items"][0]["thread_id"]
            path = f"/api/refinements/{thread_id}"
            events = int((await http.get(path)).json()["last_seq"])

            async def one() -> None:
                while time.monotonic() < until:
                    page = f"{path}/events?limit=1&after={random.randrange(events)}"
                    found[(await http.get(page)).status_code] += 1

            await asyncio.gather(*(one() for _ in range(50)))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return f"{told(found)} of {events:,} events"


@FAMILY.attack(reads=("large",))
async def readers_that_leave(aim: Aim) -> str:
    """40 readers of a run with events of 10 MB leave when the hub has begun to read one, and come back."""
    run, until, opened = aim.stored["large"], time.monotonic() + aim.seconds, 0

    async def one(number: int) -> None:
        nonlocal opened
        while time.monotonic() < until:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(*place(aim.http))
                opened += 1
                form = None if number % 2 else "ideo.v1"
                writer.write(upgrade(run.thread_id, aim.token, form, number % run.events))
                await asyncio.sleep(0.05 + number % 7 * 0.02)
                writer.transport.abort()

    await asyncio.gather(*map(one, range(40)))
    return f"{opened} connections"
