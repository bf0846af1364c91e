"""What HTTP/2 allows and no client does: deadlines that have passed, windows of a byte, calls that end."""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from contextlib import AsyncExitStack, suppress

from server.wire import messages as m
from tests.hostile.attacks import http2
from tests.hostile.attacks.attack import Aim, Family
from tests.hostile.attacks.grpc_floods import flood
from tests.hostile.attacks.http2 import connection, frame, message

FAMILY = Family("odd uses of HTTP/2")
#: A type of frames that HTTP/2 does not have: it must be ignored.
_UNKNOWN = 0xFE
#: Watches of a connection.
_WATCHES = 50


@FAMILY.attack()
async def grpc_short_deadlines(aim: Aim) -> str:
    """An account's calls with deadlines from a nanosecond to a tenth of a second, on four connections."""
    until, ended = time.monotonic() + aim.seconds, 0
    deadlines = ("1n", "1u", "1m", "10m", "100m")
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(connection(aim.grpc)) for _ in range(4)]
        while time.monotonic() < until and any(each.closed_s is None for each in held):
            for each in held:
                for number in range(min(100, 1_000 - each.active)):
                    more = (("grpc-timeout", deadlines[number % len(deadlines)]),)
                    each.call(http2.LIST_PROPOSALS, aim.token, message(b""), ends=True, more=more)
                await each.drain()
            await asyncio.sleep(0.01)
        ended = sum(len(each.ended) for each in held)
        return f"{sum(each.calls for each in held):,} calls, {ended:,} ended"


@FAMILY.attack()
async def grpc_priorities(aim: Aim) -> str:
    """A stranger sends priorities of streams, and frames of a type that does not exist, without end."""
    return await flood(aim, frame(http2.PRIORITY, 0, 1, b"\0\0\0\0\x10") + frame(_UNKNOWN, 0, 0, b"x"))


@FAMILY.attack(reads=("large",))
async def grpc_small_windows(aim: Aim) -> str:
    """200 watches of a run with events of 10 MB take a byte at a time, on four connections."""
    run, until, given = aim.stored["large"], time.monotonic() + aim.seconds, 0
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(connection(aim.grpc, window=0)) for _ in range(4)]
        streams = []
        for each in held:
            for number in range(_WATCHES):
                request = m.WatchRefinementRequest(thread_id=run.thread_id, after_seq=number % run.events)
                data = message(request.SerializeToString())
                streams.append((each, each.call(http2.WATCH, aim.token, data, ends=True)))
            await each.drain()
        while time.monotonic() < until:
            for each, stream in streams:
                each.write(frame(http2.WINDOW, 0, stream, struct.pack("!I", 1)) * 20)
                given += 20
            for each in held:
                with suppress(TimeoutError):
                    async with asyncio.timeout(2):
                        await each.drain()
            await asyncio.sleep(0.01)
    return f"{given:,} bytes asked for one by one"


@FAMILY.attack()
async def grpc_reset_watches(aim: Aim) -> str:
    """A share link's watches on four connections, each reset when the hub has begun to answer it."""
    until, calls = time.monotonic() + aim.seconds, 0
    data = message(m.WatchRefinementRequest(thread_id=aim.thread_id).SerializeToString())
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(connection(aim.grpc)) for _ in range(4)]
        open_streams: deque[tuple[http2.Connection, int]] = deque()
        while time.monotonic() < until and any(each.closed_s is None for each in held):
            for each in held:
                for _ in range(10):
                    open_streams.append((each, each.call(http2.WATCH, aim.link, data, ends=True)))
                    calls += 1
                await each.drain()
            await asyncio.sleep(0.02)
            while len(open_streams) > 400:
                made, stream = open_streams.popleft()
                made.write(frame(http2.RESET, 0, stream, b"\0\0\0\x08"))
                made.ended.add(stream)
        closed = sum(each.closed_s is not None for each in held)
    return f"{calls:,} calls, {closed} of 4 connections closed"
