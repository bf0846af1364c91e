"""A refinement as a run of AG-UI: starting, attaching, coming back, and what is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from ag_ui_validate.pytest_plugin import validate_agui

from tests.support.http_face import problem
from tests.support.hub import RunningHub, a_workflow, finished, running_hub, start
from tests.support.tokens import bearer

Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database, heartbeat_s=0.1) as running:
        yield running


@pytest.fixture
async def http(hub: RunningHub) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=hub.http, headers=bearer(hub.token()), trust_env=False, timeout=30
    ) as client:
        yield client


@pytest.fixture
async def workflow(hub: RunningHub) -> str:
    async with hub.client() as client:
        return await a_workflow(client)


def asked(prompt: object = "[[replay:short_run]]", **more: Any) -> dict[str, Any]:
    """A RunAgentInput as its client sends it."""
    messages = [
        {"id": "1", "role": "user", "content": "an earlier question"},
        {"id": "2", "role": "assistant", "content": "an answer"},
        {"id": "3", "role": "user", "content": prompt},
    ]
    empty: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return {"threadId": "a thread", "runId": "a run", "messages": messages, **empty, **more}


async def run(
    http: httpx.AsyncClient, workflow: str, request: dict[str, Any], last_id: str | None = None
) -> Events:
    """The events of an answer, with their ids."""
    headers = {"Accept": "text/event-stream"} | ({} if last_id is None else {"Last-Event-ID": last_id})
    answer = await http.post(f"/api/workflows/{workflow}/agui", json=request, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.split("\n\n")[:-1]:
        if block != ": heartbeat":
            first, second = block.split("\n")
            found.append((first.removeprefix("id: "), json.loads(second.removeprefix("data: "))))
    return found


async def count(http: httpx.AsyncClient) -> int:
    return len((await http.get("/api/proposals")).json()["items"])


async def test_a_run_is_started_with_the_last_user_message_and_followed_to_its_end(
    http: httpx.AsyncClient, workflow: str
) -> None:
    events = await run(http, workflow, asked())
    report = validate_agui([event for _, event in events])
    assert [each for each in report.diagnostics if each.severity != "info"] == []
    (_, first), *_, (last_id, last) = events
    assert (first["type"], first["threadId"], first["runId"]) == ("RUN_STARTED", "a thread", "a run")
    assert (last["type"], last_id) == ("RUN_FINISHED", "52")
    ids = next(event["value"] for _, event in events if event["type"] == "CUSTOM")
    proposal = (await http.get(f"/api/proposals/{ids['proposal_id']}")).json()
    assert proposal["user_prompt"] == "[[replay:short_run]]"


async def test_parts_of_text_are_joined_to_the_prompt(http: httpx.AsyncClient, workflow: str) -> None:
    parts = [
        {"type": "text", "text": "Look:"},
        {"type": "image", "source": {}},
        {"type": "text", "text": "[[replay:short_run]]"},
    ]
    assert (await run(http, workflow, asked(parts)))[-1][1]["type"] == "RUN_FINISHED"


async def test_the_same_run_is_started_once_and_goes_on_where_the_client_is(
    http: httpx.AsyncClient, workflow: str
) -> None:
    whole = await run(http, workflow, asked())
    for number in (1, 2, 10, len(whole) - 1, len(whole)):
        again = await run(http, workflow, asked(), whole[number - 1][0])
        assert again == whole[number:]
    assert await count(http) == 1
    await run(http, workflow, asked(runId="another"))
    assert await count(http) == 2


async def test_a_refinement_that_runs_or_has_ended_is_attached_to_by_its_thread_id(
    hub: RunningHub, http: httpx.AsyncClient, workflow: str
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run speed=3]]", workflow)
    request = asked("not started", threadId=started["thread_id"])
    live = await run(http, workflow, request)
    ended = await run(http, workflow, request)
    assert live == ended
    assert live[-1][1]["type"] == "RUN_FINISHED"
    assert await count(http) == 1
    # That of another workflow is not.
    async with hub.client() as client:
        other = await a_workflow(client)
    await run(http, other, asked(threadId=started["thread_id"]))
    assert await count(http) == 2


async def test_a_run_that_fails_ends_with_an_error(http: httpx.AsyncClient, workflow: str) -> None:
    events = await run(http, workflow, asked("[[replay:error_mid_stream]]"))
    assert events[-1][1]["type"] == "RUN_ERROR"
    assert events[-1][1]["code"] == "upstream_error"


async def test_what_is_wrong_is_refused_before_the_stream(
    hub: RunningHub, http: httpx.AsyncClient, workflow: str
) -> None:
    url = f"/api/workflows/{workflow}/agui"
    resume = [{"interruptId": "q", "status": "resolved", "payload": True}]
    for body, status, fields in (
        ({}, 400, {"threadId", "runId", "messages"}),
        (asked(threadId=""), 400, {"threadId"}),
        (asked(runId=7), 400, {"runId"}),
        (asked(messages=[]), 400, {"messages"}),
        (asked(messages=[{"role": "assistant", "content": "x"}]), 400, {"messages"}),
        (asked("  "), 400, {"messages"}),
        (asked("x" * 65_537), 400, {"messages"}),
        (asked(messages=["x"]), 400, {"messages"}),
        (asked(resume=resume), 422, {"resume"}),
    ):
        answer = await http.post(url, json=body)
        assert (answer.status_code, set(problem(answer)["fields"])) == (status, fields), body
    answer = await http.post(url, json=asked(), headers={"Last-Event-ID": "x"})
    assert (answer.status_code, set(problem(answer)["fields"])) == (400, {"Last-Event-ID"})
    assert await count(http) == 0
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]", workflow)
        await finished(client, started)
    attached = asked(threadId=started["thread_id"])
    answer = await http.post(url, json=attached, headers={"Last-Event-ID": "53"})
    assert (answer.status_code, problem(answer)["code"]) == (410, "cursor_out_of_range")
    answer = await http.post(url, json=attached | {"resume": resume})
    assert answer.status_code == 422
