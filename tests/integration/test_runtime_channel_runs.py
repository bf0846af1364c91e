"""How runs end when their frames come over the channel and the runtime behaves as the published one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.domain.errors import RuntimeUnavailable
from server.domain.journal.events import Discontinuity
from tests.integration.published_runtime import ANSWER, FAILS, PublishedRuntime
from tests.support.driven import Driven, driven, verdict
from tests.support.hand_clock import until
from tests.support.redis_server import RedisServer, redis_server
from tests.support.runtime import END, files, files_frame, serve_runtime

Opener = Callable[..., AbstractAsyncContextManager[Driven]]


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as running:
        yield running


@pytest.fixture
def hub_on(redis: RedisServer, database: str, pool: Any) -> Opener:
    """Silence is looked into after 0.1 s; it fails a run that is called completed after 30 s."""

    @asynccontextmanager
    async def opened(runtime: PublishedRuntime, **settings: Any) -> AsyncIterator[Driven]:
        chosen = {"run_idle_s": 0.1, "run_silent_s": 30.0, "runtime_events_url": redis.url} | settings
        async with serve_runtime(runtime) as url, driven(url, database, pool, **chosen) as on:
            yield on
        await runtime.close()

    return opened


def kinds_of(events: list[Any]) -> list[str]:
    return [type(event.kind).__name__ for event in events]


async def test_a_run_whose_end_is_published_is_completed(hub_on: Opener, redis: RedisServer) -> None:
    runtime = PublishedRuntime(redis, [files_frame(a="1"), files_frame(a="2", b="3"), END])
    async with hub_on(runtime, run_idle_s=30.0) as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("completed", None, {"/a": "2", "/b": "3"})
    assert kinds_of(events) == ["RunStarted", "StateUpdate", "StateUpdate", "Terminal"]
    assert runtime.subscribers == [1]
    assert runtime.asked == 0


async def test_what_is_published_before_the_invoke_is_answered_is_not_lost(
    hub_on: Opener, redis: RedisServer
) -> None:
    frames = [files_frame(a=str(number) * 50_000) for number in range(1, 10)]
    runtime = PublishedRuntime(redis, [*frames, END, ANSWER])
    async with hub_on(runtime, run_idle_s=30.0) as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("completed", None, {"/a": "9" * 50_000})
    assert len(events) == 11


async def test_a_run_that_failed_in_silence_is_failed_and_never_completed(
    hub_on: Opener, redis: RedisServer
) -> None:
    runtime = PublishedRuntime(redis, [files_frame(a="1"), FAILS])
    async with hub_on(runtime, run_silent_s=0.6) as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("failed", "upstream_silent", {"/a": "1"})
    assert kinds_of(events) == ["RunStarted", "StateUpdate", "Terminal"]
    assert runtime.asked >= 2


async def test_a_long_quiet_step_is_waited_for_though_the_state_says_completed(
    hub_on: Opener, redis: RedisServer
) -> None:
    tool = asyncio.Event()
    runtime = PublishedRuntime(redis, [files_frame(a="1"), tool, files_frame(a="2"), END])
    async with hub_on(runtime) as on:
        started = await on.start()
        await until(lambda: runtime.asked >= 8)
        tool.set()
        proposal, events = await on.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "2"})
    assert kinds_of(events) == ["RunStarted", "StateUpdate", "StateUpdate", "Terminal"]


async def test_silence_never_fails_a_run_that_the_runtime_says_is_running(
    hub_on: Opener, redis: RedisServer
) -> None:
    tool = asyncio.Event()
    runtime = PublishedRuntime(redis, [files_frame(a="1"), tool, files_frame(a="2"), END], state_is="honest")
    async with hub_on(runtime, run_silent_s=0.2) as on:
        started = await on.start()
        await until(lambda: runtime.asked >= 8)
        tool.set()
        proposal, events = await on.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "2"})
    assert {event.epoch for event in events} == {1}


async def test_a_run_that_the_runtime_says_failed_is_failed(hub_on: Opener, redis: RedisServer) -> None:
    said = {"status": "failed", "generated_files": None, "error": {"message": "it broke"}}
    runtime = PublishedRuntime(redis, [files_frame(a="1"), FAILS], state_is=said)
    async with hub_on(runtime) as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1"})
    assert kinds_of(events) == ["RunStarted", "StateUpdate", "Terminal"]


async def test_a_run_that_the_runtime_never_had_is_failed(hub_on: Opener, redis: RedisServer) -> None:
    """A definition that cannot be built: taken, and never heard of again."""
    runtime = PublishedRuntime(redis, [FAILS], state_is="unknown")
    async with hub_on(runtime) as on:
        proposal, _ = await on.outcome(await on.start())
        asks = on.core.runner.context.limits.max_unknown_thread_answers + 1
    assert verdict(proposal) == ("failed", "upstream_lost", {})
    # As often as it takes, and once more after a further silence: a connection that stays open has
    # nothing to catch up on.
    assert runtime.asked == asks + 1


async def test_a_connection_lost_in_the_middle_is_marked_and_the_run_goes_on(
    hub_on: Opener, redis: RedisServer
) -> None:
    lost, found = asyncio.Event(), asyncio.Event()
    runtime = PublishedRuntime(
        redis, [files_frame(a="1"), lost, files_frame(a="2"), found, files_frame(a="3"), END]
    )
    async with hub_on(runtime) as on:
        started = await on.start()
        await _lose_a_frame(on, started, redis, runtime, lost)
        await _subscribed(redis, started)
        found.set()
        proposal, events = await on.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "3"})
    assert kinds_of(events) == ["RunStarted", "StateUpdate", "Discontinuity", "StateUpdate", "Terminal"]
    assert [event.epoch for event in events] == [1, 1, 2, 2, 2]


async def test_an_end_that_was_lost_with_the_connection_is_not_a_success(
    hub_on: Opener, redis: RedisServer
) -> None:
    lost = asyncio.Event()
    runtime = PublishedRuntime(redis, [files_frame(a="1"), lost, END])
    async with hub_on(runtime, run_silent_s=0.6) as on:
        started = await on.start()
        await _lose_a_frame(on, started, redis, runtime, lost)
        proposal, events = await on.outcome(started)
    assert verdict(proposal) == ("failed", "upstream_lost", {"/a": "1"})
    assert kinds_of(events) == ["RunStarted", "StateUpdate", "Discontinuity", "Terminal"]
    assert proposal.failure is not None
    assert "frames were lost" in proposal.failure.message


async def test_an_end_after_a_gap_that_may_hold_the_last_files_is_not_a_success(
    hub_on: Opener, redis: RedisServer
) -> None:
    lost, found = asyncio.Event(), asyncio.Event()
    runtime = PublishedRuntime(redis, [files_frame(a="1"), lost, files_frame(a="2"), found, END])
    async with hub_on(runtime) as on:
        started = await on.start()
        await _lose_a_frame(on, started, redis, runtime, lost)
        await _subscribed(redis, started)
        found.set()
        proposal, events = await on.outcome(started)
    assert verdict(proposal) == ("failed", "upstream_lost", {"/a": "1"})
    assert kinds_of(events) == ["RunStarted", "StateUpdate", "Discontinuity", "Terminal"]


async def test_only_silence_that_was_listened_to_counts(hub_on: Opener, redis: RedisServer) -> None:
    found = asyncio.Event()
    runtime = PublishedRuntime(redis, [files_frame(a="1"), found, files_frame(a="2"), END])
    async with hub_on(runtime, run_silent_s=2.0) as on:
        started = await on.start()
        await _journalled(on, started, 2)
        await redis.kill()
        away_since = time.monotonic()
        await until(lambda: time.monotonic() > away_since + 2.5)
        await redis.start()
        await _subscribed(redis, started)
        found.set()
        proposal, _ = await on.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "2"})


async def test_a_runtime_that_shows_files_settles_a_run_whose_end_was_lost(
    hub_on: Opener, redis: RedisServer
) -> None:
    lost = asyncio.Event()
    runtime = PublishedRuntime(redis, [files_frame(a="1"), lost, END], state_is="honest")
    async with hub_on(runtime) as on:
        started = await on.start()
        await _journalled(on, started, 2)
        await redis.kill()
        lost.set()
        # The server stays away: the state alone tells.
        runtime.state_is = {"status": "completed", "generated_files": files(a="2")}
        proposal, _ = await on.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "2"})


async def test_a_run_that_cannot_subscribe_is_not_begun(hub_on: Opener, redis: RedisServer) -> None:
    runtime = PublishedRuntime(redis, [END])
    async with hub_on(runtime) as on:
        await redis.kill()
        with pytest.raises(RuntimeUnavailable):
            await on.start()
        page = await on.core.proposals.list(on.user, limit=5)
    assert [(found.status.value, found.failure.reason) for found in page.items] == [
        ("failed", "runtime_unavailable")
    ]
    assert runtime.jobs == []


async def test_a_run_that_is_taken_over_continues_after_a_discontinuity(
    hub_on: Opener, redis: RedisServer, database: str, pool: Any
) -> None:
    taken = asyncio.Event()
    runtime = PublishedRuntime(redis, [files_frame(a="1"), taken, files_frame(a="2"), END])
    chosen: dict[str, Any] = {"run_idle_s": 0.1, "runtime_events_url": redis.url}
    async with serve_runtime(runtime) as url:
        async with driven(url, database, pool, replica="one", **chosen) as one:
            started = await one.start()
            await _journalled(one, started, 2)
        await _subscribed(redis, started, by=0)
        async with driven(url, database, pool, replica="two", **chosen) as two:
            await _subscribed(redis, started)
            taken.set()
            two.user = one.user
            proposal, events = await two.outcome(started)
        await runtime.close()
    assert verdict(proposal) == ("completed", None, {"/a": "2"})
    assert any(isinstance(event.kind, Discontinuity) for event in events)
    assert len(runtime.jobs) == 1


async def _journalled(on: Driven, started: Any, last_seq: int) -> None:
    async with asyncio.timeout(60):
        while (await on.core.refinements.get(on.user, started.thread_id)).last_seq < last_seq:
            await asyncio.sleep(0.01)


async def _lose_a_frame(
    on: Driven, started: Any, redis: RedisServer, runtime: PublishedRuntime, lost: asyncio.Event
) -> None:
    """Take the channel's server away while the frame behind `lost` is published."""
    await _journalled(on, started, 2)
    await redis.kill()
    lost.set()
    await until(lambda: runtime.done == 3)
    await redis.start()


async def _subscribed(redis: RedisServer, started: Any, *, by: int = 1) -> None:
    channel = f"langgraph:stream:{started.thread_id}"
    async with asyncio.timeout(60), redis.client() as client:
        while (await client.pubsub_numsub(channel))[0][1] != by:
            await asyncio.sleep(0.01)
