"""The hub with a real agent: a deepagents graph with a scripted model, in each runtime of the examples."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from server.cli.hub_client import HubClient
from tests.examples.runtimes import LANGGRAPH, LINES, NEWEST, ExampleRuntime
from tests.examples.scripted import (
    ASKS,
    approving,
    events_of,
    questions_in,
    script,
    texts,
    turn,
    write,
)
from tests.support.hub import a_workflow, finished, start
from tests.support.proxy import proxy

pytestmark = [pytest.mark.example, pytest.mark.timeout(400)]

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
)


async def test_a_short_run_proposes_the_file_that_the_agent_writes(client: HubClient) -> None:
    started = await start(client, "Make a plan.")
    proposal = await finished(client, started)
    assert proposal["status"] == "completed"
    assert texts(proposal["generated_files"]) == {"/plan.md": "# Plan\n\n1. Ask.\n2. Answer.\n"}
    events = await events_of(client, started["thread_id"])
    said = "".join(event["token"].get("text", "") for event in events if "token" in event)
    assert "I will write the plan." in said
    assert "The plan is in /plan.md." in said


# That of LangGraph's server is cut in `test_langgraph_server.py`.
@pytest.mark.parametrize("runtime", [NEWEST, LINES], indirect=True)
async def test_a_long_run_keeps_every_event_and_file_while_its_stream_is_cut(
    runtime: ExampleRuntime, database: str
) -> None:
    files = {f"/notes/{number}.md": f"Note {number}\n" * 20 for number in range(25)}
    turns = [turn(" ".join(["word"] * 80), write(path, text)) for path, text in files.items()]
    async with (
        proxy(int(runtime.url.rpartition(":")[2])) as way,
        runtime.hub(database, url=f"http://127.0.0.1:{way.place}") as hub,
        hub.client() as client,
    ):
        started = await start(client, script(*turns, turn("Done.")))
        events: list[dict[str, Any]] = []
        async for message in client.messages(started["thread_id"]):
            events += message.get("batch", {}).get("events", ())
            if len(events) // 400 > way.broken:
                way.break_all("reset")
        proposal = await client.call("GET", f"/api/proposals/{started['proposal_id']}")
    assert way.broken
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert not any("discontinuity" in event for event in events)
    said = [event["token"].get("text", "").strip() for event in events if "token" in event]
    assert said.count("word") == 25 * 80
    assert texts(proposal["generated_files"]) == files


async def test_what_a_sub_agent_writes_is_proposed(client: HubClient) -> None:
    work = script(turn("Writing.", write("/part.md", "part\n")), turn("Done."))
    task = ["task", {"description": work, "subagent_type": "general-purpose"}]
    prompt = script(
        turn("I delegate.", task, task), turn("Both are done.", write("/whole.md", "whole\n")), turn("Done.")
    )
    proposal = await finished(client, await start(client, prompt))
    assert proposal["status"] == "completed"
    assert texts(proposal["generated_files"]) == {"/part.md": "part\n", "/whole.md": "whole\n"}


# deepagents 0.2 has no tool that deletes.
@pytest.mark.parametrize("runtime", [NEWEST, LANGGRAPH], indirect=True)
async def test_a_file_that_the_agent_deletes_is_gone_from_the_draft_once_accepted(client: HubClient) -> None:
    body = {"name": "demo", "files": {"/keep.md": "keep\n", "/old.md": "old\n"}}
    workflow = await client.call("POST", "/api/workflows", body)
    prompt = script(turn("I tidy up.", ["delete", {"file_path": "/old.md"}]), turn("Done."))
    proposal = await finished(client, await start(client, prompt, workflow["id"]))
    assert proposal["includes_base"]
    assert texts(proposal["generated_files"]) == {"/keep.md": "keep\n"}
    path = f"/api/proposals/{proposal['id']}/accept"
    await client.call("POST", path, {}, headers={"If-Match": "*"})
    draft = await client.call("GET", f"/api/drafts/{workflow['current_draft_id']}")
    assert {path: file["text"] for path, file in draft["files"].items()} == {"/keep.md": "keep\n"}


async def test_a_run_whose_model_fails_is_failed_with_the_reason_and_keeps_its_files(
    client: HubClient,
) -> None:
    prompt = script(
        turn("I begin.", write("/half.md", "half\n")), {"error": "the provider closed the stream"}
    )
    started = await start(client, prompt)
    proposal = await finished(client, started)
    assert proposal["status"] == "failed"
    assert texts(proposal["generated_files"]) == {"/half.md": "half\n"}
    terminal = (await events_of(client, started["thread_id"]))[-1]["terminal"]
    assert "the provider closed the stream" in json.dumps(terminal)


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        ({"decision": "approve"}, {"/a.md": "a\n"}),
        (
            {"decision": "edit", "edited_arguments": json.dumps({"file_path": "/b.md", "content": "b\n"})},
            {"/b.md": "b\n"},
        ),
        ({"decision": "reject", "message": "Not now."}, {}),
    ],
    ids=lambda value: value.get("decision", ""),
)
async def test_an_agent_that_asks_goes_on_as_a_person_decides(
    client: HubClient, decision: dict[str, str], expected: dict[str, str]
) -> None:
    workflow = await a_workflow(client, agent_definition=ASKS)
    prompt = script(turn("May I?", write("/a.md", "a\n")), turn("Thank you."))
    started = await start(client, prompt, workflow)
    question = (await events_of(client, started["thread_id"], "input_requested"))[-1]
    assert [action["name"] for action in question["input_requested"]["actions"]] == ["write_file"]
    reply = {"seq": question["seq"], "decisions": [decision]}
    await client.call("POST", f"/api/refinements/{started['thread_id']}/reply", reply)
    proposal = await finished(client, started)
    assert proposal["status"] == "completed"
    assert texts(proposal["generated_files"]) == expected


async def test_a_question_about_two_calls_takes_a_decision_for_each(client: HubClient) -> None:
    workflow = await a_workflow(client, agent_definition=ASKS)
    prompt = script(turn("May I?", write("/a.md", "a\n"), write("/b.md", "b\n")), turn("Thank you."))
    started = await start(client, prompt, workflow)
    question = (await events_of(client, started["thread_id"], "input_requested"))[-1]
    reply = {"seq": question["seq"], "decisions": [{"decision": "reject"}, {"decision": "approve"}]}
    await client.call("POST", f"/api/refinements/{started['thread_id']}/reply", reply)
    proposal = await finished(client, started)
    assert texts(proposal["generated_files"]) == {"/b.md": "b\n"}


async def test_a_run_may_ask_again_and_again(client: HubClient) -> None:
    workflow = await a_workflow(client, agent_definition=ASKS)
    files = {f"/{number}.md": f"{number}\n" for number in range(3)}
    turns = [turn("Next.", write(path, text)) for path, text in files.items()]
    started = await start(client, script(*turns, turn("Done.")), workflow)
    events = await approving(client, started["thread_id"])
    proposal = await client.call("GET", f"/api/proposals/{started['proposal_id']}")
    assert (questions_in(events), proposal["status"]) == (3, "completed")
    assert texts(proposal["generated_files"]) == files


async def test_a_file_that_is_not_text_keeps_its_bytes(client: HubClient) -> None:
    call = ["write_binary_file", {"file_path": "/icon.png", "content_base64": base64.b64encode(PNG).decode()}]
    workflow = await a_workflow(client)
    prompts = [
        script(turn("An icon.", call), turn("Done.")),
        script(turn("Text.", write("/a.md", "a\n")), turn("Done.")),
    ]
    for prompt in prompts:
        # The second run is given the icon with its draft.
        proposal = await finished(client, await start(client, prompt, workflow))
        icon = proposal["generated_files"]["/icon.png"]
        assert icon["encoding"] == "base64"
        assert base64.b64decode("".join(icon["content"])) == PNG
        assert await client.read(f"/api/proposals/{proposal['id']}/files/{icon['sha256']}") == PNG
        path = f"/api/proposals/{proposal['id']}/accept"
        await client.call("POST", path, {}, headers={"If-Match": "*"})
