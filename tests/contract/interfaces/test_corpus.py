"""One corpus of cases over every interface: the same call has the same outcome whichever way it comes.

The clients in TypeScript and Go play the same cases in `tests/clients`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.contract.interfaces.callers import CALLERS
from tests.support.client import TYPED_WAYS, WAYS, events
from tests.support.corpus import WATCHED, corpus_hub, known_values, play_all
from tests.support.hub import RunningHub, finished, start


@pytest_asyncio.fixture
async def hub(database: str, tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with corpus_hub(database, tmp_path) as running:
        yield running


@pytest.mark.parametrize("callers", CALLERS, ids=" and ".join)
async def test_every_case_has_the_outcome_that_the_corpus_says_on_every_interface(
    hub: RunningHub, callers: tuple[str, ...]
) -> None:
    await play_all(hub, callers)


async def test_every_way_of_watching_ends_with_the_same_events(hub: RunningHub) -> None:
    known = await known_values(hub)
    histories = {
        name: [event async for event in events(name, hub, known["$owner"], known["$thread"], 0)]
        for name in TYPED_WAYS
    }
    whole = histories.pop("rest")
    assert [event["seq"] for event in whole] == list(range(1, 53))
    for name, history in histories.items():
        assert history == whole, name


async def test_every_way_of_watching_resumes_at_every_seq(hub: RunningHub) -> None:
    known = await known_values(hub)
    for name in WAYS:
        whole = [event async for event in events(name, hub, known["$owner"], known["$thread"], 0)]
        for after in range(53):
            rest = [event async for event in events(name, hub, known["$owner"], known["$thread"], after)]
            assert rest == [event for event in whole if event["seq"] > after], (name, after)


async def test_live_watchers_of_every_kind_and_late_ones_end_with_the_same_events(hub: RunningHub) -> None:
    import asyncio

    async with hub.client() as client:
        started = await start(client, f"[[replay:{WATCHED} speed=10]]")

    async def watch(name: str) -> list[dict[str, Any]]:
        return [event async for event in events(name, hub, hub.token(), started["thread_id"], 0)]

    names = WAYS
    live = dict(zip(names, await asyncio.gather(*map(watch, names)), strict=True))
    late = {name: await watch(name) for name in names}
    assert live == late
    typed = {name: history for name, history in live.items() if name != "ws-legacy"}
    assert all(history == typed["rest"] for history in typed.values())
    assert [frame["seq"] for frame in live["ws-legacy"]] == list(range(2, 53))


async def test_a_client_that_reconnects_twenty_times_ends_with_the_same_events(hub: RunningHub) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:long_run]]")
        await finished(client, started)
    whole = [event async for event in events("rest", hub, hub.token(), started["thread_id"], 0)]
    for name in TYPED_WAYS:
        history: list[dict[str, Any]] = []
        connections = 0
        while not history or "terminal" not in history[-1]:
            connections += 1
            cursor = history[-1]["seq"] if history else 0
            stream = events(name, hub, hub.token(), started["thread_id"], cursor)
            async for event in stream:
                history.append(event)
                if event["seq"] >= cursor + 110:
                    break
            await stream.aclose()
        assert connections > 20
        assert history == whole, name
