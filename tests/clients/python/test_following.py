"""Following a refinement with the client: the same events over every transport, whatever breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from ide_orchestrator.client import Changed, NotAuthenticated, Refused
from tests.clients.python.hubs import WAYS, Through, as_json, followed, open_way, watched
from tests.support.client import events
from tests.support.hand_clock import until
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.paced_runtime import PacedRuntime
from tests.support.proxy import proxy
from tests.support.runtime import serve_runtime

ABSENT = "00000000-0000-4000-8000-000000000000"
LAST = 52


@pytest.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database, heartbeat_s=0.2) as running:
        yield running


async def a_run(hub: RunningHub, prompt: str = "[[replay:short_run]]", *, whole: bool = True) -> str:
    """The thread of a run, by default once it is over."""
    async with hub.client() as client:
        started = await start(client, prompt)
        if whole:
            await finished(client, started)
    return str(started["thread_id"])


@pytest.mark.parametrize("way", WAYS)
async def test_a_follower_gets_the_journals_events_from_every_cursor(hub: RunningHub, way: str) -> None:
    thread = await a_run(hub)
    journal = [event async for event in events("rest", hub, hub.token(), thread)]
    async with open_way(way, hub, hub.token()) as (client, how):
        for after in range(LAST + 1):
            found = [as_json(event) async for event in client.follow(thread, after, **how)]
            assert found == journal[after:]


@pytest.mark.parametrize("way", WAYS)
async def test_a_follower_of_a_live_run_gets_each_event_once(hub: RunningHub, way: str) -> None:
    thread = await a_run(hub, "[[replay:short_run speed=10]]", whole=False)
    found = [event.seq async for event in followed(way, hub, hub.token(), thread)]
    assert found == list(range(1, LAST + 1))


@pytest.mark.parametrize("way", WAYS)
async def test_a_silent_connection_is_given_up_and_another_one_goes_on(database: str, way: str) -> None:
    runtime = PacedRuntime("short_run")
    runtime.release_first(10)
    async with (
        serve_runtime(runtime) as url,
        running_hub(database, runtime_url=url, heartbeat_s=0.2) as hub,
    ):
        thread = await a_run(hub, "x", whole=False)
        interface = hub.grpc if way == "grpc" else hub.http
        async with proxy(int(interface.rpartition(":")[2])) as between:
            found = []
            stream = followed(way, Through(between.place), hub.token(), thread, silence_s=1.0)
            async with aclosing(stream) as events_:
                async for event in events_:
                    found.append(event.seq)
                    if event.seq == 5:
                        between.break_all("swallow")
                        # What follows comes over another connection, which a busy machine may silence, too.
                        runtime.release(1)
            assert between.accepted >= 2
    assert found == list(range(1, LAST + 1))


@pytest.mark.parametrize("way", WAYS)
async def test_a_token_is_asked_for_again_when_the_hub_refuses_it(hub: RunningHub, way: str) -> None:
    thread = await a_run(hub)
    given = [hub.token(minutes=-10), hub.token()]

    async def token() -> str:
        return given.pop(0)

    assert [event.seq async for event in followed(way, hub, token, thread)][-1] == LAST
    assert given == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_refusal_is_raised_as_the_advice_that_it_gives(hub: RunningHub, way: str) -> None:
    thread = await a_run(hub)
    with pytest.raises(Refused):
        await anext(followed(way, hub, hub.token(), ABSENT))
    with pytest.raises(Refused):
        await anext(followed(way, hub, hub.token("eve@example.com"), thread))
    with pytest.raises(NotAuthenticated):
        await anext(followed(way, hub, hub.token(minutes=-10), thread))
    with pytest.raises(NotAuthenticated):
        await anext(followed(way, hub, lambda: hub.token(minutes=-10), thread))
    with pytest.raises(Changed) as outside:
        await anext(followed(way, hub, hub.token(), thread, LAST + 1))
    assert (outside.value.code, outside.value.problem["last_seq"]) == ("cursor_out_of_range", LAST)


@pytest.mark.parametrize("way", WAYS)
async def test_cancelling_the_task_ends_the_stream_on_the_hub(hub: RunningHub, way: str) -> None:
    thread = await a_run(hub, "[[replay:short_run silent=10]]", whole=False)
    progress: list[int] = []

    async def read() -> None:
        async for message in watched(way, hub, hub.token(), thread):
            progress.append(message.heartbeat.last_seq)

    reading = asyncio.create_task(read())
    await until(lambda: any(progress))
    assert hub.core.broadcaster.readers == 1
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await until(lambda: not hub.core.broadcaster.readers)


@pytest.mark.parametrize("way", WAYS)
async def test_a_share_link_shows_the_events_after_its_cursor(hub: RunningHub, way: str) -> None:
    thread = await a_run(hub)
    async with hub.client() as client:
        refinement = await client.call("GET", f"/api/refinements/{thread}")
        shares = f"/api/proposals/{refinement['proposal_id']}/shares"
        link: dict[str, Any] = await client.call("POST", shares, {"after_seq": 40})
    found = [event.seq async for event in followed(way, hub, link["secret"], thread)]
    assert found == list(range(41, LAST + 1))
