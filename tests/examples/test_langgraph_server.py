"""The hub with LangGraph's Agent Server: `langgraph dev`, examples/langgraph_server and a scripted model."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from server.cli.doctor.services import check_runtime
from server.cli.hub_client import HubClient
from server.settings.loading import load
from tests.examples.runtimes import LANGGRAPH, ExampleRuntime
from tests.examples.scripted import (
    ASKS,
    approving,
    events_of,
    questions_in,
    script,
    script_of,
    texts,
    turn,
    write,
)
from tests.support.hub import a_workflow, finished, start
from tests.support.proxy import proxy
from tests.support.recordings import expected

pytestmark = [
    pytest.mark.example,
    pytest.mark.timeout(400),
    pytest.mark.parametrize("runtime", [LANGGRAPH], indirect=True),
]

#: A run that takes a while: forty files.
LONG = script(
    *(turn(" ".join(["word"] * 40), write(f"/{number}.md", f"{number}\n")) for number in range(40)),
    turn("Done."),
)


def runs_at(runtime: ExampleRuntime, thread_id: str) -> list[dict[str, Any]]:
    """The runs of a thread as the server lists them, newest first."""
    listed: list[dict[str, Any]] = httpx.get(f"{runtime.url}/threads/{thread_id}/runs").json()
    return listed


def cancel_at(runtime: ExampleRuntime, thread_id: str) -> None:
    """Cancel the run of a thread at the server."""
    run_id = runs_at(runtime, thread_id)[0]["run_id"]
    httpx.post(f"{runtime.url}/threads/{thread_id}/runs/{run_id}/cancel").raise_for_status()


def assert_whole(events: list[dict[str, Any]], words: list[str]) -> None:
    """The events have no gap, no duplicate and no discontinuity, and all of these words once."""
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert not [event for event in events if "discontinuity" in event]
    said: dict[str, str] = {}
    for token in (event["token"] for event in events if "token" in event):
        if token["role"] == "MESSAGE_ROLE_AI":
            said[token["message_id"]] = said.get(token["message_id"], "") + token.get("text", "")
    assert " ".join(said.values()).split() == words


def words_of(prompt: str) -> list[str]:
    """What the model says to a scripted prompt."""
    return " ".join(step.get("text", "") for step in json.loads(prompt)).split()


async def test_the_hub_says_what_the_server_can_do(client: HubClient) -> None:
    features = (await client.call("GET", "/api/info"))["features"]
    assert {"input_replies", "runtime_cancel", "runtime_replay"} <= set(features)


@pytest.mark.parametrize(
    ("recording", "every"), [("short_run", 10), ("long_run", 50), ("error_mid_stream", 5)]
)
async def test_a_recorded_run_played_again_and_cut_again_and_again_has_its_files_and_its_outcome(
    runtime: ExampleRuntime, database: str, recording: str, every: int
) -> None:
    fails = recording == "error_mid_stream"
    prompt = script_of(recording, *([{"error": "the provider closed the stream"}] if fails else []))
    events: list[dict[str, Any]] = []
    cuts = 0
    async with (
        proxy(int(runtime.url.rpartition(":")[2])) as way,
        runtime.hub(database, url=f"http://127.0.0.1:{way.place}") as hub,
        hub.client() as client,
    ):
        started = await start(client, prompt)
        async for message in client.messages(started["thread_id"]):
            events += message.get("batch", {}).get("events", ())
            if len(events) // every > cuts:
                cuts += 1
                way.break_all("reset")
        proposal = await client.call("GET", f"/api/proposals/{started['proposal_id']}")
    print(f"{recording}: {len(events)} events, {cuts} cuts")
    assert cuts or recording != "long_run"
    assert_whole(events, words_of(prompt))
    known = expected(recording)
    assert proposal["status"] == ("failed" if fails else "completed")
    digests = {path: file["sha256"] for path, file in proposal["generated_files"].items()}
    assert digests == {path: file["sha256"] for path, file in known["files"].items()}
    if fails:
        assert proposal["failure"]["reason"] == "upstream_error"
        assert "the provider closed the stream" in json.dumps(events[-1]["terminal"])


async def test_the_recorded_run_that_asks_goes_on_with_each_reply(client: HubClient) -> None:
    workflow = await a_workflow(client, agent_definition=ASKS)
    started = await start(client, script_of("approval.3"), workflow)
    events = await approving(client, started["thread_id"])
    proposal = await client.call("GET", f"/api/proposals/{started['proposal_id']}")
    assert (questions_in(events), proposal["status"]) == (2, "completed")
    assert proposal["generated_files"].keys() == {"/THE_SPEC/constitution.md", "/definition.json"}
    assert_whole(events, words_of(script_of("approval.3")))


async def test_a_run_that_is_cancelled_is_stopped_at_the_server(
    runtime: ExampleRuntime, client: HubClient
) -> None:
    started = await start(client, LONG)
    thread_id = started["thread_id"]
    await events_of(client, thread_id, "token")
    await client.call("POST", f"/api/refinements/{thread_id}/cancel", {})
    proposal = await finished(client, started)
    assert proposal["failure"]["reason"] == "cancelled"
    give_up_at = time.monotonic() + 60
    while (status := runs_at(runtime, thread_id)[0]["status"]) in ("pending", "running"):
        assert time.monotonic() < give_up_at
    assert status == "interrupted"


async def test_a_run_that_is_cancelled_at_the_server_is_failed(
    runtime: ExampleRuntime, client: HubClient
) -> None:
    started = await start(client, LONG)
    thread_id = started["thread_id"]
    await events_of(client, thread_id, "token")
    cancel_at(runtime, thread_id)
    proposal = await finished(client, started)
    assert (proposal["status"], proposal["failure"]["reason"]) == ("failed", "upstream_error")


async def test_a_run_goes_on_without_a_gap_when_the_hub_is_started_again(
    runtime: ExampleRuntime, database: str
) -> None:
    async with runtime.hub(database) as hub, hub.client() as client:
        started = await start(client, LONG)
        before = await events_of(client, started["thread_id"], "token")
    async with runtime.hub(database) as hub, hub.client() as client:
        proposal = await finished(client, started)
        events = await events_of(client, started["thread_id"])
    assert len(before) < len(events)
    assert_whole(events, words_of(LONG))
    assert texts(proposal["generated_files"]) == {f"/{number}.md": f"{number}\n" for number in range(40)}
    assert len(runs_at(runtime, started["thread_id"])) == 1


async def test_the_doctor_knows_whether_the_server_has_the_graph(runtime: ExampleRuntime) -> None:
    settings: dict[str, Any] = {"env": "dev", "runtime_url": runtime.url, **runtime.settings}
    assert (await check_runtime(load(**settings), "")).ok
    missing = await check_runtime(load(**settings, langgraph_assistant="nobody"), "")
    assert "IDEO_LANGGRAPH_ASSISTANT" in missing.fix
