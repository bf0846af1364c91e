"""The corpus of cases: played against a hub by callers over every interface, and in every language."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from ide_orchestrator.conformance.callers import Call, caller
from ide_orchestrator.conformance.cases import CASES, put_in
from ide_orchestrator.conformance.outcomes import Outcome
from ide_orchestrator.conformance.target import Target
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.recordings import write_odd_recording

#: Opens a caller by its name, for the target's token.
Opener = Callable[[str, Target], AbstractAsyncContextManager[Call]]

#: The recording of the refinement that cases read.
WATCHED = "short_run"
OPERATOR = "root@example.com"


@asynccontextmanager
async def corpus_hub(dsn: str, folder: Path) -> AsyncIterator[RunningHub]:
    """A hub with the settings that the cases expect. folder: for a recording that is written."""
    settings: dict[str, Any] = {
        # Each case that creates something does so over every interface.
        "max_creates_per_minute": 1_000,
        "webhook_allowed_hosts": ("localhost",),
        "runtime_can_resume": True,
        "operators": (OPERATOR,),
    }
    async with running_hub(dsn, recordings=write_odd_recording(folder), **settings) as running:
        yield running


async def known_values(hub: RunningHub) -> dict[str, Any]:
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
        deliveries = await client.call("GET", f"/api/webhooks/{webhook['id']}/deliveries")
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
        "$delivery": deliveries["items"][0]["id"],
        "$shape": shape,
        "$grpc_port": int(hub.grpc.rpartition(":")[2]),
        "$nothing": "00000000-0000-4000-8000-000000000000",
        "$owner": hub.token(),
        "$stranger": hub.token("eve@example.com"),
        "$operator": hub.token(OPERATOR),
        "$expired": hub.token(minutes=-10),
        "$nobody": "",
    }


async def play(
    hub: RunningHub,
    known: dict[str, Any],
    names: Sequence[str],
    opener: Opener,
    cases: Sequence[Mapping[str, Any]],
) -> tuple[Counter[str], list[str]]:
    """Make the call of each case with each caller; known: as of `known_values`.

    Returns how many outcomes each caller gave, and a sentence for each that is not the case's.
    """
    played: Counter[str] = Counter()
    wrong: list[str] = []
    for case in cases:
        token = known[f"${case.get('as', 'owner')}"]
        expected = Outcome.of_case(put_in(case["gives"], known))
        for name in names:
            if "$etag" in case.get("with", {}).values():
                known["$etag"] = await _etag(hub, known["$draft"])
            async with opener(name, Target(hub.http, token, hub.grpc)) as call:
                outcome = await call(case["call"], put_in(case.get("with", {}), known))
            played[name] += 1
            # The clients' results over HTTP are the JSON of the answers, without their headers.
            ignored = ("replayed",) if name.endswith("client") else ()
            difference = expected.difference(outcome, ignored)
            if difference:
                wrong.append(f"{case['name']} over {name}: {difference}")
    return played, wrong


async def play_all(hub: RunningHub, names: Sequence[str], opener: Opener = caller) -> None:
    """Every case has the same outcome with each caller, and a case with another outcome would be seen."""
    known = await known_values(hub)
    played, wrong = await play(hub, known, names, opener, CASES)
    assert not wrong, "\n".join(wrong)
    assert played == dict.fromkeys(names, len(CASES))
    print(f"{len(CASES)} cases, none skipped, over each of {', '.join(names)}")
    changed = {**CASES[1], "gives": {"code": "not_found"}}
    assert len((await play(hub, known, names, opener, [changed]))[1]) == len(names)


async def _etag(hub: RunningHub, draft_id: str) -> str:
    async with hub.client() as client:
        return str((await client.call("GET", f"/api/drafts/{draft_id}?view=basic"))["etag"])
