"""One corpus of cases over every interface: the same call has the same outcome whichever way it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ide_orchestrator.conformance.callers import caller
from ide_orchestrator.conformance.cases import CASES, put_in
from ide_orchestrator.conformance.outcomes import Outcome
from ide_orchestrator.conformance.target import Target
from tests.contract.interfaces.callers import CALLERS
from tests.support.client import TYPED_WAYS, WAYS, events
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.recordings import write_odd_recording

WATCHED = "short_run"
OPERATOR = "root@example.com"


@pytest_asyncio.fixture
async def hub(database: str, tmp_path: Path) -> AsyncIterator[RunningHub]:
    settings: dict[str, Any] = {
        # Each case that creates something does so over every interface.
        "max_creates_per_minute": 1_000,
        "webhook_allowed_hosts": ("localhost",),
        "runtime_can_resume": True,
        "operators": (OPERATOR,),
    }
    recordings = write_odd_recording(tmp_path)
    async with running_hub(database, recordings=recordings, **settings) as running:
        yield running


async def _known(hub: RunningHub) -> dict[str, Any]:
    """What cases may name: a workflow of the owner's with one finished refinement, and one with a run."""
    async with hub.client() as client:
        made = await client.call(
            "POST", "/api/workflows", {"name": "demo", "files": {"/THE_SPEC/a.md": "# A\n"}}
        )
        # Nobody listens there.
        hook = {"target_url": "http://localhost:9", "event_types": ["run.finished"]}
        webhook = await client.call("POST", "/api/webhooks", hook)
        started = await start(client, f"[[replay:{WATCHED}]]", made["id"])
        await finished(client, started)
        busy = await client.call("POST", "/api/workflows", {"name": "busy"})
        await start(client, "[[replay:long_run speed=0.01]]", busy["id"])
        told = await client.call("GET", f"/api/webhooks/{webhook['id']}/deliveries")
    # What others do is not in the owner's lists.
    async with hub.client("dan@example.com") as client:
        await finished(client, await start(client, "[[replay:odd]]"))
    async with hub.client(OPERATOR) as client:
        shapes = (await client.call("GET", "/api/quarantine/shapes"))["items"]
        [shape] = [each["id"] for each in shapes if each["event_type"] == "thought"]
    return {
        "$workflow": made["id"],
        "$busy": busy["id"],
        "$draft": made["current_draft_id"],
        "$thread": started["thread_id"],
        "$proposal": started["proposal_id"],
        "$webhook": webhook["id"],
        "$delivery": told["items"][0]["id"],
        "$shape": shape,
        "$grpc_port": int(hub.grpc.rpartition(":")[2]),
        "$nothing": "00000000-0000-4000-8000-000000000000",
        "$owner": hub.token(),
        "$stranger": hub.token("eve@example.com"),
        "$operator": hub.token(OPERATOR),
        "$expired": hub.token(minutes=-10),
        "$nobody": "",
    }


async def _etag(hub: RunningHub, draft_id: str) -> str:
    async with hub.client() as client:
        return str((await client.call("GET", f"/api/drafts/{draft_id}?view=basic"))["etag"])


@pytest.mark.parametrize("callers", CALLERS, ids=" and ".join)
async def test_every_case_has_the_outcome_that_the_corpus_says_on_every_interface(
    hub: RunningHub, callers: tuple[str, ...]
) -> None:
    known = await _known(hub)
    wrong: list[str] = []
    for case in CASES:
        token = known[f"${case.get('as', 'owner')}"]
        outcomes: dict[str, Outcome] = {}
        for name in callers:
            async with caller(name, Target(hub.http, token, hub.grpc)) as call:
                if "$etag" in case.get("with", {}).values():
                    known["$etag"] = await _etag(hub, known["$draft"])
                outcomes[name] = await call(case["call"], put_in(case.get("with", {}), known))
        expected = Outcome.of_case(put_in(case["gives"], known))
        for name, outcome in outcomes.items():
            # The client's results over HTTP are the JSON of the answers, without their headers.
            ignored = ("replayed",) if name == "client" else ()
            difference = expected.difference(outcome, ignored)
            if difference:
                wrong.append(f"{case['name']} over {name}: {difference}")
    assert not wrong, "\n".join(wrong)


async def test_every_way_of_watching_ends_with_the_same_events(hub: RunningHub) -> None:
    known = await _known(hub)
    histories = {
        name: [event async for event in events(name, hub, known["$owner"], known["$thread"], 0)]
        for name in TYPED_WAYS
    }
    whole = histories.pop("rest")
    assert [event["seq"] for event in whole] == list(range(1, 53))
    for name, history in histories.items():
        assert history == whole, name


async def test_every_way_of_watching_resumes_at_every_seq(hub: RunningHub) -> None:
    known = await _known(hub)
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
