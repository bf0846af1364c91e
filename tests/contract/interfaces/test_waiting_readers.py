"""What readers keep in memory while they wait for the next event: nothing of those that they have got."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID

import grpc.aio
import httpx
import pytest

from server.domain.journal.segments import Segment
from tests.support.grpc_interface import Caller
from tests.support.hand_clock import until
from tests.support.http_interface import socket
from tests.support.hub import RunningHub, running_hub, start
from tests.support.runtime import SILENCE, ScriptedRuntime, files_frame, serve_runtime
from tests.support.tokens import bearer

#: More than what all waiting readers share in one write.
LARGE_BYTES = 400 << 10
STATE = files_frame(large="x" * LARGE_BYTES)
RUNNING = {"status": "running", "generated_files": None}

Reader = Callable[[RunningHub, str], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def over_websocket(hub: RunningHub, thread: str) -> AsyncIterator[None]:
    """A reader that has the large event."""
    async with socket(hub.http, thread, hub.token(), "ideo.v1") as opened:
        while len(await opened.recv()) < LARGE_BYTES:
            pass
        yield


@asynccontextmanager
async def over_sse(hub: RunningHub, thread: str) -> AsyncIterator[None]:
    """As `over_websocket`."""
    headers = bearer(hub.token()) | {"Accept": "text/event-stream"}
    async with (
        httpx.AsyncClient(base_url=hub.http, headers=headers, timeout=60, trust_env=False) as client,
        client.stream("GET", f"/api/refinements/{thread}/events?after=0") as answer,
    ):
        received = 0
        async for piece in answer.aiter_bytes():
            received += len(piece)
            if received > LARGE_BYTES and piece.endswith(b"\n\n"):
                break
        yield


@asynccontextmanager
async def over_grpc(hub: RunningHub, thread: str) -> AsyncIterator[None]:
    """As `over_websocket`."""
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(hub.grpc, options=options) as channel:
        call = Caller(channel, hub.token()).watch(thread)
        while (await call.read()).ByteSize() < LARGE_BYTES:
            pass
        yield
        call.cancel()


@pytest.mark.parametrize("reader", [over_websocket, over_sse, over_grpc], ids=lambda each: each.__name__)
async def test_a_reader_that_waits_for_the_next_event_keeps_nothing_of_the_last_one(
    reader: Reader, database: str
) -> None:
    runtime = ScriptedRuntime(streams=[[STATE, SILENCE]], states=[RUNNING])
    async with (
        serve_runtime(runtime) as url,
        running_hub(database, runtime_url=url) as hub,
        hub.client() as client,
    ):
        thread = (await start(client, "go"))["thread_id"]
        own = await hub.core.broadcaster.subscribe(UUID(thread), 0)
        async with reader(hub, thread):
            # What the thread keeps for all readers is counted, and may be dropped at any time.
            own.topic.clear()
            await until(lambda: not large_segments())
        own.close()


def large_segments() -> int:
    """Segments with a large event that something refers to."""
    gc.collect()
    return sum(type(each) is Segment and len(each.batch) > LARGE_BYTES for each in gc.get_objects())
