"""Readers that do not read: what they cost, how they are closed, and that nobody else notices."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop
from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode

from server.domain.rates import Rate
from server.domain.streams.topic import STEP_BYTES
from server.http.connection import HIGH_WATER_BYTES
from server.http.websocket_frames import close_frame
from server.http.websocket_protocol import HubConfig, hub_config
from tests.support.hand_clock import PATIENCE_S
from tests.support.http_interface import HttpInterface, http_interface, small_socket, socket, upgrade_request
from tests.support.hub import RunningHub, finished, running_hub, start

#: 2,258 frames, 2.4 MB of legacy frames: more than the kernel and the hub hold for one reader.
LONG = "[[replay:long_run]]"
EVENTS = 2_259
DEADLINE_S = 0.5
#: Most bytes that wait in the process for one reader: a step more than where its handler is held up.
MOST_WAITING = HIGH_WATER_BYTES + STEP_BYTES + (64 << 10)

Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def on_loop(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], Any]:
    """Runs on an event loop of its own: the hub's is uvloop, whose transports differ."""

    async def run(coroutine: Coroutine[Any, Any, None]) -> None:
        def in_thread() -> None:
            with asyncio.Runner(loop_factory=request.param) as runner:
                runner.run(coroutine)

        await asyncio.to_thread(in_thread)

    return run


@asynccontextmanager
async def stuck_socket(
    interface: HttpInterface, thread: str, token: str, *protocols: str, query: str = ""
) -> AsyncIterator[ClientConnection]:
    """A WebSocket whose client has stopped to read."""
    async with socket(
        interface.http,
        thread,
        token,
        *protocols,
        query=query,
        sock=small_socket(interface),
        max_queue=1,
        ping_interval=None,
        close_timeout=0.1,
    ) as opened:
        opened.transport.pause_reading()
        try:
            yield opened
        finally:
            opened.transport.abort()


@asynccontextmanager
async def stuck_stream(interface: HttpInterface, thread: str, token: str) -> AsyncIterator[None]:
    """The same over server-sent events."""
    with small_socket(interface) as raw:
        head = (
            f"GET /api/refinements/{thread}/events HTTP/1.1",
            "Host: x",
            "Accept: text/event-stream",
            f"Authorization: Bearer {token}",
        )
        await asyncio.get_running_loop().sock_sendall(raw, "\r\n".join((*head, "", "")).encode())
        yield


@asynccontextmanager
async def deadline(config: HubConfig, seconds: float) -> AsyncIterator[None]:
    """The deadline of connections that are made, and of closes that begin, from now on, and before."""
    before, config.send_deadline_s = config.send_deadline_s, seconds
    try:
        yield
    finally:
        config.send_deadline_s = before


async def read_seqs(opened: ClientConnection) -> list[int]:
    """The seqs of a reader of ideo.v1, to the end."""
    return [
        event["seq"]
        async for message in opened
        for event in json.loads(message).get("batch", {}).get("events", ())
    ]


@asynccontextmanager
async def hub_and_interface(
    database: str, deadline_s: float
) -> AsyncIterator[tuple[RunningHub, HttpInterface]]:
    """A hub, and an interface whose readers have so long to take something."""
    async with (
        running_hub(database) as hub,
        http_interface(hub.core, send_deadline_s=deadline_s) as interface,
    ):
        yield hub, interface


async def test_a_client_that_never_reads_is_cut_off_holds_little_memory_and_disturbs_no_other(
    database: str, on_loop: Any
) -> None:
    async def run() -> None:
        async with hub_and_interface(database, DEADLINE_S) as (hub, interface):
            async with hub.client() as client:
                started = await start(client, LONG)
            thread, token = started["thread_id"], hub.token()
            most = 0

            async def watch() -> None:
                nonlocal most
                while True:
                    waiting = [each.stream.waiting_bytes for each in interface.connections]
                    most = max([most, *waiting])
                    await asyncio.sleep(0.002)

            watching = asyncio.create_task(watch())
            config = hub_config(interface.server.config)
            async with (
                # Others have more time than they need on a busy machine.
                deadline(config, PATIENCE_S),
                socket(interface.http, thread, token, "ideo.v1") as good,
                deadline(config, DEADLINE_S),
                stuck_socket(interface, thread, token),
                stuck_socket(interface, thread, token, "ideo.v1"),
                stuck_socket(interface, thread, token, "ideo.v1.proto"),
                stuck_stream(interface, thread, token),
            ):
                async with asyncio.timeout(PATIENCE_S):
                    assert await read_seqs(good) == list(range(1, EVENTS + 1))
                assert good.close_code == 1000
                # The close, and what is before it, may wait as long again.
                await interface.until_connections(0)
            watching.cancel()
            assert HIGH_WATER_BYTES < most <= MOST_WAITING
            assert hub.core.broadcaster.readers == 0

    await on_loop(run())


async def test_a_client_that_reads_again_in_time_gets_the_cursor_to_resume_from(
    database: str, on_loop: Any
) -> None:
    async def run() -> None:
        async with hub_and_interface(database, DEADLINE_S) as (hub, interface):
            async with hub.client() as client:
                started = await start(client, LONG)
            thread, token = started["thread_id"], hub.token()
            async with (
                stuck_socket(interface, thread, token) as slow,
                # What it has for the close and what is before it, once it is no longer followed.
                deadline(hub_config(interface.server.config), PATIENCE_S),
            ):
                async with asyncio.timeout(PATIENCE_S):
                    while not hub.core.broadcaster.readers:
                        await asyncio.sleep(0.001)
                    while hub.core.broadcaster.readers:
                        await asyncio.sleep(0.001)
                slow.transport.resume_reading()
                seqs = []
                with suppress(Exception):
                    while True:
                        seqs.append(json.loads(await slow.recv())["seq"])
                code, reason = slow.close_code, slow.close_reason
            assert (code, reason) == (4408, f"after={seqs[-1]}")
            assert seqs == list(range(2, seqs[-1] + 1))
            assert seqs[-1] < EVENTS
            async with socket(hub.http, thread, token, query=f"?{reason}") as again:
                rest = [json.loads(message)["seq"] async for message in again]
            assert seqs + rest == list(range(2, EVENTS + 1))

    await on_loop(run())


async def test_pings_of_who_does_not_read_cost_no_memory(database: str, on_loop: Any) -> None:
    async def run() -> None:
        async with hub_and_interface(database, 10 * PATIENCE_S) as (hub, interface):
            # Enough for the pings, which would be cut off otherwise.
            config = hub_config(interface.server.config)
            config.bytes_rate = config.frames_rate = Rate(64 << 20, 64 << 20)
            async with hub.client() as client:
                started = await start(client, "[[replay:short_run silent=10]]")
            async with stuck_socket(interface, started["thread_id"], hub.token()) as opened:
                ping = Frame(Opcode.PING, os.urandom(125)).serialize(mask=True) * 500
                (served,) = interface.connections
                most = 0
                for _ in range(100):
                    opened.transport.write(ping)
                    async with asyncio.timeout(PATIENCE_S):
                        while opened.transport.get_write_buffer_size():
                            await asyncio.sleep(0.001)
                    most = max(most, served.stream.waiting_bytes)
                assert HIGH_WATER_BYTES < most < 2 * HIGH_WATER_BYTES

    await on_loop(run())


async def test_who_takes_data_steadily_is_not_closed_for_a_late_pong(database: str) -> None:
    async with running_hub(database) as hub, http_interface(hub.core, ping_s=2) as interface:
        async with hub.client() as client:
            started = await start(client, LONG)
            await finished(client, started)
        with small_socket(interface) as raw:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(raw, upgrade_request(hub.token(), started["thread_id"], "ideo.legacy"))
            received = 0
            async with asyncio.timeout(2 * PATIENCE_S):
                # Slow enough that a ping waits longer than its answer may take; it never gets one.
                while piece := await loop.sock_recv(raw, 8192):
                    received, last = received + len(piece), piece
                    await asyncio.sleep(0.04)
        assert received > MOST_WAITING
        assert last.endswith(close_frame(1000, ""))
