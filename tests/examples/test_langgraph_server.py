"""The hub with LangGraph's Agent Server: `langgraph dev`, examples/langgraph_server and a scripted model."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.cli.doctor.services import check_runtime
from server.cli.hub_client import HubClient
from server.settings.loading import load
from tests.examples.scripted import ASKS, events_of, script, script_of, texts, turn, write
from tests.support.hub import a_workflow, finished, running_hub, start
from tests.support.proxy import proxy
from tests.support.recordings import expected
from tests.support.servers import free_port

pytestmark = [pytest.mark.example, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
LANGGRAPH = ROOT / "build/examples/langgraph_server/requirements/bin/langgraph"
#: Seconds in which the server must be ready: it imports a good deal.
READY_S = 240.0
LANGGRAPH_SERVER: dict[str, Any] = {"runtime_kind": "langgraph-server"}
#: A run that takes a while: forty files.
LONG = script(
    *(turn(" ".join(["word"] * 40), write(f"/{number}.md", f"{number}\n")) for number in range(40)),
    turn("Done."),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The example's address, served as its README.md says."""
    assert LANGGRAPH.exists(), "`poe examples` installs what the example needs"
    # It keeps its threads below its folder.
    folder = tmp_path_factory.mktemp("langgraph")
    for name in ("langgraph_server", "deepagents_runtime"):
        shutil.copytree(ROOT / "examples" / name, folder / name)
    address = f"http://127.0.0.1:{free_port()}"
    command = [str(LANGGRAPH), "dev", "--no-browser", "--no-reload", "--port", address.rpartition(":")[2]]
    log = (folder / "log").open("wb")
    with log, subprocess.Popen(command, cwd=folder / "langgraph_server", stdout=log, stderr=log) as process:
        try:
            wait_until_ready(process, address, folder / "log")
            yield address
        finally:
            process.kill()


def wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Wait until the server answers."""
    give_up_at = time.monotonic() + READY_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < give_up_at, log.read_text()
        try:
            if httpx.get(f"{address}/ok").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)


@pytest.fixture
async def client(server: str, database: str) -> AsyncIterator[HubClient]:
    """A user of a hub in front of the server."""
    async with (
        running_hub(database, runtime_url=server, **LANGGRAPH_SERVER) as hub,
        hub.client() as client,
    ):
        yield client


def runs_at(server: str, thread_id: str) -> list[dict[str, Any]]:
    """The runs of a thread as the server lists them, newest first."""
    listed: list[dict[str, Any]] = httpx.get(f"{server}/threads/{thread_id}/runs").json()
    return listed


def cancel_at(server: str, thread_id: str) -> None:
    """Cancel the run of a thread at the server."""
    run_id = runs_at(server, thread_id)[0]["run_id"]
    httpx.post(f"{server}/threads/{thread_id}/runs/{run_id}/cancel").raise_for_status()


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
    server: str, database: str, recording: str, every: int
) -> None:
    fails = recording == "error_mid_stream"
    prompt = script_of(recording, *([{"error": "the provider closed the stream"}] if fails else []))
    events: list[dict[str, Any]] = []
    cuts = 0
    async with (
        proxy(int(server.rpartition(":")[2])) as way,
        running_hub(database, runtime_url=f"http://127.0.0.1:{way.place}", **LANGGRAPH_SERVER) as hub,
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
    asked = 0
    events: list[dict[str, Any]] = []
    async for message in client.messages(started["thread_id"]):
        for event in message.get("batch", {}).get("events", ()):
            events.append(event)
            if "input_requested" in event:
                asked += 1
                reply = {"seq": event["seq"], "decisions": [{"decision": "approve"}]}
                await client.call("POST", f"/api/refinements/{started['thread_id']}/reply", reply)
    proposal = await client.call("GET", f"/api/proposals/{started['proposal_id']}")
    assert (asked, proposal["status"]) == (2, "completed")
    assert proposal["generated_files"].keys() == {"/THE_SPEC/constitution.md", "/definition.json"}
    assert_whole(events, words_of(script_of("approval.3")))


@pytest.mark.parametrize(
    ("decision", "files"),
    [
        (
            {"decision": "edit", "edited_arguments": json.dumps({"file_path": "/b.md", "content": "b\n"})},
            {"/b.md": "b\n"},
        ),
        ({"decision": "reject", "message": "Not now."}, {}),
    ],
    ids=["edit", "reject"],
)
async def test_an_agent_that_asks_goes_on_as_a_person_decides(
    client: HubClient, decision: dict[str, str], files: dict[str, str]
) -> None:
    workflow = await a_workflow(client, agent_definition=ASKS)
    prompt = script(turn("May I?", write("/a.md", "a\n")), turn("Thank you."))
    started = await start(client, prompt, workflow)
    question = (await events_of(client, started["thread_id"], "input_requested"))[-1]
    reply = {"seq": question["seq"], "decisions": [decision]}
    await client.call("POST", f"/api/refinements/{started['thread_id']}/reply", reply)
    proposal = await finished(client, started)
    assert proposal["status"] == "completed"
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


async def test_a_run_that_is_cancelled_is_stopped_at_the_server(server: str, client: HubClient) -> None:
    started = await start(client, LONG)
    thread_id = started["thread_id"]
    await events_of(client, thread_id, "token")
    await client.call("POST", f"/api/refinements/{thread_id}/cancel", {})
    proposal = await finished(client, started)
    assert proposal["failure"]["reason"] == "cancelled"
    give_up_at = time.monotonic() + 20
    while (status := runs_at(server, thread_id)[0]["status"]) in ("pending", "running"):
        assert time.monotonic() < give_up_at
    assert status == "interrupted"


async def test_a_run_that_is_cancelled_at_the_server_is_failed(server: str, client: HubClient) -> None:
    started = await start(client, LONG)
    thread_id = started["thread_id"]
    await events_of(client, thread_id, "token")
    cancel_at(server, thread_id)
    proposal = await finished(client, started)
    assert (proposal["status"], proposal["failure"]["reason"]) == ("failed", "upstream_error")


async def test_a_run_goes_on_without_a_gap_when_the_hub_is_started_again(server: str, database: str) -> None:
    async with (
        running_hub(database, runtime_url=server, **LANGGRAPH_SERVER) as hub,
        hub.client() as client,
    ):
        started = await start(client, LONG)
        before = await events_of(client, started["thread_id"], "token")
    async with (
        running_hub(database, runtime_url=server, **LANGGRAPH_SERVER) as hub,
        hub.client() as client,
    ):
        proposal = await finished(client, started)
        events = await events_of(client, started["thread_id"])
    assert len(before) < len(events)
    assert_whole(events, words_of(LONG))
    assert texts(proposal["generated_files"]) == {f"/{number}.md": f"{number}\n" for number in range(40)}
    assert len(runs_at(server, started["thread_id"])) == 1


async def test_the_doctor_knows_whether_the_server_has_the_graph(server: str) -> None:
    settings: dict[str, Any] = {"env": "dev", "runtime_url": server, **LANGGRAPH_SERVER}
    assert (await check_runtime(load(**settings), "")).ok
    missing = await check_runtime(load(**settings, langgraph_assistant="nobody"), "")
    assert "IDEO_LANGGRAPH_ASSISTANT" in missing.fix
