"""A reader whose connection is cut a hundred times, while the hub restarts, gets every event once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from itertools import cycle

import pytest

from tests.clients.python.hubs import WAYS, Through, as_json, open_hub, watched
from tests.support import tokens
from tests.support.client import events
from tests.support.cut_runs import CUTS, HOW
from tests.support.hand_clock import until
from tests.support.paced_runtime import PacedRuntime
from tests.support.processes import forked, hub_environment
from tests.support.proxy import proxy
from tests.support.runtime import serve_runtime
from tests.support.servers import free_port

#: Steps in which the run is played, so that there is a message for each cut.
STEPS = CUTS + 1
#: The step before which the hub restarts.
RESTART = STEPS // 3


class Reader:
    """Follows a thread over a connection that is cut after each message, up to CUTS times."""

    def __init__(self, way: str, port: str) -> None:
        self.way, self._port = way, int(port)
        self.events: list[dict[str, object]] = []
        self.cuts = 0

    async def read(self, token: str, thread_id: str) -> None:
        """Follow until the terminal event."""
        hows = cycle(HOW)
        async with (
            proxy(self._port) as between,
            aclosing(watched(self.way, Through(between.place), token, thread_id)) as messages,
        ):
            async for message in messages:
                self.events += map(as_json, message.batch.events)
                if message.batch.events and self.cuts < CUTS:
                    between.break_all(next(hows))
                    self.cuts += 1


async def play(runtime: PacedRuntime, readers: Sequence[Reader], steps: range) -> None:
    """Play each step when every reader has something of the one before."""
    for step in steps:
        seen = max(len(reader.events) for reader in readers)
        runtime.release((step + 1) / STEPS)
        await until(lambda seen=seen: min(len(each.events) for each in readers) > seen, within_s=100)


@pytest.mark.timeout(400)
async def test_a_reader_cut_a_hundred_times_across_a_restart_gets_every_event_once(database: str) -> None:
    http, grpc = str(free_port()), str(free_port())
    token, runtime = tokens.token(), PacedRuntime("long_run")
    readers = [Reader(way, grpc if way == "grpc" else http) for way in WAYS]
    async with serve_runtime(runtime) as url, asyncio.TaskGroup() as reading:
        environment = hub_environment(database, url, IDEO_RUNTIME_PROFILE="full")
        environment |= {"IDEO_HTTP_PORT": http, "IDEO_GRPC_PORT": grpc}
        async with forked("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            async with open_hub(Through(http), token) as client:
                workflow = await client.create_workflow("long")
                thread = (await client.start(workflow["id"], "go on"))["thread_id"]
            tasks = [reading.create_task(each.read(token, thread)) for each in readers]
            await play(runtime, readers, range(RESTART))
        async with forked("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            await play(runtime, readers, range(RESTART, STEPS))
            await asyncio.wait(tasks)
            journal = [event async for event in events("rest", Through(http), token, thread)]
    assert len(journal) > 2000
    assert [event["seq"] for event in journal] == list(range(1, len(journal) + 1))
    for reader in readers:
        assert (reader.events == journal, reader.cuts) == (True, CUTS), reader.way
