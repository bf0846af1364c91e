"""A reader whose connection is cut a hundred times, while the hub restarts, gets every event once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from itertools import cycle

import pytest

from tests.clients.python.hubs import WAYS, Through, as_json, open_hub, watched
from tests.support import tokens
from tests.support.client import events
from tests.support.hand_clock import until
from tests.support.processes import hub_environment, running
from tests.support.proxy import How, proxy
from tests.support.recordings import frames
from tests.support.runtime import Runtime, Stream, serve_runtime
from tests.support.servers import free_port

CUTS = 100
#: About 2,000 tokens, and the states between them.
FRAMES = frames("long_run")
#: Frames that are played between two cuts.
STEP = len(FRAMES) // (CUTS + 1)


class HandPaced(Runtime):
    """Plays the recording from its start to each connection, as far as the test has released it."""

    def __init__(self) -> None:
        self.released = 0

    async def stream(self, stream: Stream) -> None:
        await stream.accept()
        for number, frame in enumerate(FRAMES):
            while number >= self.released:
                await asyncio.sleep(0.01)
            await stream.send(frame)


class Reader:
    """Follows a thread over a connection that is cut after each message, up to CUTS times."""

    def __init__(self, way: str, port: str) -> None:
        self.way, self._port = way, int(port)
        self.events: list[dict[str, object]] = []
        self.cuts = 0

    async def read(self, token: str, thread_id: str) -> None:
        """Follow until the terminal event."""
        hows: Iterator[How] = cycle(("reset", "close", "half-close"))
        async with (
            proxy(self._port) as between,
            aclosing(watched(self.way, Through(between.place), token, thread_id)) as messages,
        ):
            async for message in messages:
                self.events += map(as_json, message.batch.events)
                if message.batch.events and self.cuts < CUTS:
                    between.break_all(next(hows))
                    self.cuts += 1


async def play(runtime: HandPaced, readers: Sequence[Reader], up_to: int) -> None:
    """Play the next frames when every reader has something of the last ones."""
    while runtime.released < up_to:
        seen = max(len(reader.events) for reader in readers)
        runtime.released += STEP
        await until(lambda seen=seen: min(len(each.events) for each in readers) > seen, within_s=100)


@pytest.mark.timeout(400)
async def test_a_reader_cut_a_hundred_times_across_a_restart_gets_every_event_once(database: str) -> None:
    http, grpc = str(free_port()), str(free_port())
    token, runtime = tokens.token(), HandPaced()
    readers = [Reader(way, grpc if way == "grpc" else http) for way in WAYS]
    async with serve_runtime(runtime) as url, asyncio.TaskGroup() as reading:
        environment = hub_environment(database, url, IDEO_RUNTIME_PROFILE="full")
        environment |= {"IDEO_HTTP_PORT": http, "IDEO_GRPC_PORT": grpc}
        async with running("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            async with open_hub(Through(http), token) as client:
                workflow = await client.create_workflow("long")
                thread = (await client.start(workflow["id"], "go on"))["thread_id"]
            tasks = [reading.create_task(each.read(token, thread)) for each in readers]
            await play(runtime, readers, len(FRAMES) // 3)
        async with running("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            await play(runtime, readers, len(FRAMES))
            await asyncio.wait(tasks)
            journal = [event async for event in events("rest", Through(http), token, thread)]
    assert len(journal) > 2000
    assert [event["seq"] for event in journal] == list(range(1, len(journal) + 1))
    for reader in readers:
        assert (reader.events == journal, reader.cuts) == (True, CUTS), reader.way
