"""Two replicas as real processes: each serves the other's runs, whatever carries the wake-ups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from server.cli.hub_client import HubClient, open_client
from tests.support.hub import finished, start
from tests.support.paced_runtime import PacedRuntime
from tests.support.pooler import pooler
from tests.support.processes import forked, hub_environment, replay_process
from tests.support.recordings import expected, facts_of
from tests.support.redis_server import redis_server
from tests.support.runtime import serve_runtime
from tests.support.tokens import token

#: Events of the recording, with the one that the hub puts first.
EVENTS = 52
#: With a poll alone, every second while wake-ups seem to arrive, the median is half a second.
LAG_S = 0.3


@asynccontextmanager
async def two_hubs(
    dsn: str, *, runtime_url: str | None = None, **settings: str
) -> AsyncIterator[tuple[HubClient, HubClient]]:
    """A client of each of two hub processes on one database and one runtime."""
    async with AsyncExitStack() as stack:
        url = runtime_url or await stack.enter_async_context(replay_process())
        environment = hub_environment(dsn, url, IDEO_RUNTIME_PROFILE="full", **settings)
        hubs = [await stack.enter_async_context(forked("serve", environment=environment)) for _ in range(2)]
        for hub in hubs:
            await hub.serving("HTTP", "gRPC")
        here, there = [
            await stack.enter_async_context(open_client(hub.addresses["HTTP"], token())) for hub in hubs
        ]
        yield here, there


async def watched(client: HubClient, thread_id: str) -> tuple[list[dict[str, Any]], float]:
    """Every event, and the median time that one took from its making to this reader."""
    events: list[dict[str, Any]] = []
    lags: list[float] = []
    async for message in client.messages(thread_id):
        for event in message.get("batch", {}).get("events", ()):
            events.append(event)
            lags.append((datetime.now(UTC) - datetime.fromisoformat(event["create_time"])).total_seconds())
    return events, median(lags)


async def shortest_lag(here: HubClient, there: HubClient) -> float:
    """The median lag on the other replica of a run of more than a second: the shortest of several, since one
    may come at a moment when the machine is busy. Each is the same on both."""
    lags: list[float] = []
    while not lags or (min(lags) >= LAG_S and len(lags) < 5):
        lags.append(await run_is_the_same_on_both(here, there))
    return min(lags)


async def run_is_the_same_on_both(here: HubClient, there: HubClient) -> float:
    """Start a run on one replica and watch it on both; the median lag on the other one."""
    started = await start(here, "[[replay:short_run speed=2]]")
    (own, _), (other, lag_s) = await asyncio.gather(
        watched(here, started["thread_id"]), watched(there, started["thread_id"])
    )
    assert own == other
    assert [event["seq"] for event in own] == list(range(1, EVENTS + 1))
    proposal = await finished(there, started)
    assert facts_of(proposal["generated_files"]) == expected("short_run")["files"]
    return lag_s


async def test_notifications_bring_each_event_to_the_other_replica_at_once(database: str) -> None:
    async with two_hubs(database) as (here, there):
        assert await shortest_lag(here, there) < LAG_S


async def test_streams_bring_each_event_to_the_other_replica_at_once(database: str, tmp_path: Path) -> None:
    async with (
        redis_server(tmp_path) as server,
        two_hubs(database, IDEO_WAKEUP_URL=server.url) as (here, there),
    ):
        assert await shortest_lag(here, there) < LAG_S


async def test_a_run_is_complete_on_both_though_the_streams_server_dies_in_it(
    database: str, tmp_path: Path
) -> None:
    runtime = PacedRuntime("short_run")
    async with (
        serve_runtime(runtime) as url,
        redis_server(tmp_path) as server,
        two_hubs(database, runtime_url=url, IDEO_WAKEUP_URL=server.url) as (here, there),
    ):
        started = await start(here, "go on")
        readers = [asyncio.create_task(watched(client, started["thread_id"])) for client in (here, there)]
        for number, step in enumerate((server.kill, server.start, server.kill, server.start), 1):
            runtime.release(number / 5)
            async for message in here.messages(started["thread_id"]):
                if any(event["seq"] >= 10 * number for event in message.get("batch", {}).get("events", ())):
                    break
            await step()
        runtime.release(1)
        (own, _), (other, _) = await asyncio.gather(*readers)
    assert own == other
    assert [event["seq"] for event in own] == list(range(1, EVENTS + 1))


async def test_two_replicas_work_through_a_pooler_with_a_direct_connection_for_listening(
    database: str,
) -> None:
    async with (
        pooler(database, size=8) as pooled,
        two_hubs(pooled, DATABASE_DIRECT_URL=database) as (here, there),
    ):
        assert await shortest_lag(here, there) < LAG_S
