"""A reader whose connection is cut a hundred times, while the hub restarts, gets every event once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from itertools import cycle

import pytest

from tests.clients.python.hubs import WAYS, Through, as_json, open_hub, watched
from tests.support import tokens
from tests.support.client import events
from tests.support.hand_clock import until
from tests.support.processes import hub_environment, replay_process, running
from tests.support.proxy import How, proxy
from tests.support.servers import free_port

CUTS = 100
#: About 2,000 tokens in 20 seconds. At full speed there would be little to cut.
PROMPT = "[[replay:long_run speed=5]]"


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
                if message.batch.events and between.broken < CUTS:
                    between.break_all(next(hows))
            self.cuts = between.broken


@pytest.mark.timeout(300)
async def test_a_reader_cut_a_hundred_times_across_a_restart_gets_every_event_once(database: str) -> None:
    http, grpc = str(free_port()), str(free_port())
    token = tokens.token()
    readers = [Reader(way, grpc if way == "grpc" else http) for way in WAYS]
    async with replay_process() as runtime, asyncio.TaskGroup() as reading:
        environment = hub_environment(database, runtime, IDEO_RUNTIME_PROFILE="full")
        environment |= {"IDEO_HTTP_PORT": http, "IDEO_GRPC_PORT": grpc}
        async with running("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            async with open_hub(Through(http), token) as client:
                workflow = await client.create_workflow("long")
                started = await client.start(workflow["id"], PROMPT)
            tasks = [reading.create_task(each.read(token, started["thread_id"])) for each in readers]
            await until(lambda: min(len(each.events) for each in readers) > 200, within_s=120)
        assert not any(task.done() for task in tasks)
        async with running("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            await asyncio.wait(tasks)
            address = Through(http)
            journal = [event async for event in events("rest", address, token, started["thread_id"])]
    assert len(journal) > 2000
    assert [event["seq"] for event in journal] == list(range(1, len(journal) + 1))
    for reader in readers:
        assert (reader.events, reader.cuts >= CUTS) == (journal, True), reader.way
