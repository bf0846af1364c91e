"""A refinement as a run of AG-UI: starting, attaching, coming back, and what is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from ag_ui_validate.pytest_plugin import validate_agui

from tests.support.hand_clock import retried
from tests.support.http_interface import problem
from tests.support.hub import RunningHub, a_workflow, finished, running_hub, start
from tests.support.tokens import bearer

Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database, heartbeat_s=0.1) as running:
        yield running


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


def check(events: Iterable[dict[str, Any]]) -> None:
    """The protocol's validator accepts the events of a run."""
    report = validate_agui(list(events))
    wrong = [each for each in report.diagnostics if each.severity != "info"]
    # A call that a person decided about has its result in the run after, as the protocol says.
    assert [each for each in wrong if each.rule != "AGUI207"] == []


async def count(http: httpx.AsyncClient) -> int:
    return len((await http.get("/api/proposals")).json()["items"])


async def test_a_run_is_started_with_the_last_user_message_and_followed_to_its_end(
    http: httpx.AsyncClient, workflow: str
) -> None:
    events = await run(http, workflow, asked())
    check(event for _, event in events)
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
    for body, status, fields in (
        ({}, 400, {"threadId", "runId", "messages"}),
        (asked(threadId=""), 400, {"threadId"}),
        (asked(runId=7), 400, {"runId"}),
        (asked(messages=[]), 400, {"messages"}),
        (asked(messages=[{"role": "assistant", "content": "x"}]), 400, {"messages"}),
        (asked("  "), 400, {"messages"}),
        (asked("x" * 65_537), 400, {"messages"}),
        (asked(messages=["x"]), 400, {"messages"}),
        (asked(resume="x"), 400, {"resume"}),
        (asked(resume=[{"interruptId": "q"}]), 400, {"resume"}),
    ):
        answer = await http.post(url, json=body)
        assert (answer.status_code, set(problem(answer)["fields"])) == (status, fields), body
    answer = await http.post(url, json=asked(), headers={"Last-Event-ID": "x"})
    assert (answer.status_code, set(problem(answer)["fields"])) == (400, {"Last-Event-ID"})
    for last_id in ("53", "1", "0.1"):
        answer = await http.post(url, json=asked(), headers={"Last-Event-ID": last_id})
        assert (answer.status_code, problem(answer)["code"]) == (410, "cursor_out_of_range")
    assert await count(http) == 0
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]", workflow)
        await finished(client, started)
    attached = asked(threadId=started["thread_id"])
    answer = await http.post(url, json=attached, headers={"Last-Event-ID": "53"})
    assert (answer.status_code, problem(answer)["code"]) == (410, "cursor_out_of_range")


APPROVED = {"status": "resolved", "payload": {"approved": True}}
REJECTED = {"status": "resolved", "payload": {"approved": False, "message": "No."}}
CANCELLED = {"status": "cancelled"}


@pytest.fixture
async def resuming(database: str) -> AsyncIterator[RunningHub]:
    """A hub whose runtime can continue a run."""
    async with running_hub(database, heartbeat_s=0.1, runtime_can_resume=True) as running:
        yield running


@asynccontextmanager
async def caller_of(hub: RunningHub, email: str = "ann@example.com") -> AsyncIterator[httpx.AsyncClient]:
    headers = bearer(hub.token(email))
    async with httpx.AsyncClient(base_url=hub.http, headers=headers, trust_env=False, timeout=60) as client:
        yield client


def interrupts_of(events: Events) -> list[dict[str, Any]]:
    """The interrupts with which a run ends."""
    last = events[-1][1]
    assert last["type"] == "RUN_FINISHED", last
    found: list[dict[str, Any]] = last["outcome"].get("interrupts", [])
    return found


def answers(interrupts: list[dict[str, Any]], answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The same answer to all of them."""
    return [{"interruptId": each["id"], **answer} for each in interrupts]


async def short_run(http: httpx.AsyncClient, workflow: str, request: dict[str, Any]) -> dict[str, Any]:
    """The last event of a run in which nothing happens."""
    answer = await http.post(f"/api/workflows/{workflow}/agui", json=request)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(block.removeprefix("data: ")) for block in answer.text.split("\n\n")[:-1]]
    check(events)
    first, last = events
    assert first["type"] == "RUN_STARTED"
    return dict(last)


async def test_answers_continue_the_run_from_question_to_question_to_its_end(resuming: RunningHub) -> None:
    async with caller_of(resuming) as http, resuming.client() as client:
        workflow = await a_workflow(client)
        runs = [await run(http, workflow, asked("[[replay:approval]]"))]
        requests = []
        while interrupts := interrupts_of(runs[-1]):
            (interrupt,) = interrupts
            assert interrupt["reason"] == "tool_call"
            calls = {event.get("toolCallId") for _, event in runs[-1] if event["type"] == "TOOL_CALL_START"}
            assert interrupt["toolCallId"] in calls
            assert interrupt["expiresAt"]
            requests.append(asked(runId=f"run {len(runs)}", resume=answers(interrupts, APPROVED)))
            runs.append(await run(http, workflow, requests[-1]))
        assert len(runs) == 3
        for number, events in enumerate(runs):
            ids = [event["runId"] for _, event in events if "runId" in event]
            assert ids == [ids[0]] * 2
            assert ids[0] == (f"run {number}" if number else "a run")
        # The call that was asked about has its result in the run after, which does not begin it again.
        results = {event["toolCallId"] for _, event in runs[1] if event["type"] == "TOOL_CALL_RESULT"}
        assert interrupts_of(runs[0])[0]["toolCallId"] in results
        for events in runs:
            check(event for _, event in events)
        # Sent again, from anywhere and under another name, an answer continues the run that it has continued.
        for number, request in enumerate(requests, 1):
            assert await run(http, workflow, request) == runs[number]
            for index in (1, len(runs[number]) - 1):
                place = runs[number][index - 1][0]
                assert await run(http, workflow, request, place) == runs[number][index:]
            again = await run(http, workflow, request | {"runId": "other"})
            assert [each for each, _ in again] == [each for each, _ in runs[number]]
        (proposal,) = (await http.get("/api/proposals")).json()["items"]
        assert proposal["status"] == "completed"


async def test_who_attaches_gets_the_run_up_to_its_open_question_or_its_end(resuming: RunningHub) -> None:
    async with caller_of(resuming) as http, resuming.client() as client:
        workflow = await a_workflow(client)
        parts = [await run(http, workflow, asked("[[replay:approval]]"))]
        thread_id = interrupts_of(parts[0])[0]["id"].split(":")[0]
        attach = asked("not started", threadId=thread_id)
        while interrupts := interrupts_of(parts[-1]):
            attached = await run(http, workflow, attach)
            check(event for _, event in attached)
            assert interrupts_of(attached) == interrupts
            # Who has had the question goes on behind it.
            request = asked(runId=f"run {len(parts)}", resume=answers(interrupts, APPROVED))
            parts.append(await run(http, workflow, request))
        whole = await run(http, workflow, attach)
        check(event for _, event in whole)
        bounds = ("RUN_STARTED", "RUN_FINISHED")
        of_parts = [each for part in parts for each in part if each[1]["type"] not in bounds]
        assert [each for each in whole if each[1]["type"] not in bounds] == of_parts
        for number in range(0, len(whole), 7):
            assert await run(http, workflow, attach, whole[number][0]) == whole[number + 1 :]
        asked_at = parts[0][-1][0]
        again = await run(http, workflow, attach, asked_at)
        assert (again[0][1]["type"], again[-1][1]["outcome"]) == ("RUN_STARTED", {"type": "success"})


@pytest.mark.parametrize("answer", [REJECTED, CANCELLED])
async def test_a_call_that_is_rejected_or_that_nobody_decides_about_is_not_made(
    resuming: RunningHub, answer: dict[str, Any]
) -> None:
    async with caller_of(resuming) as http, resuming.client() as client:
        workflow = await a_workflow(client)
        first = await run(http, workflow, asked("[[replay:approval]]"))
        request = asked(runId="next", resume=answers(interrupts_of(first), answer))
        after = await run(http, workflow, request)
        answered = next(event for _, event in after if event.get("name") == "ideo.input_answered")
        assert answered["value"]["input_answered"]["decisions"] == ["reject"]
        assert await run(http, workflow, request) == after


async def test_answers_to_other_questions_are_refused_within_the_protocol(resuming: RunningHub) -> None:
    async with (
        caller_of(resuming) as http,
        resuming.client() as client,
        caller_of(resuming, "eve@example.com") as eve,
    ):
        workflow = await a_workflow(client)
        other = await a_workflow(client)
        first = interrupts_of(await run(http, workflow, asked("[[replay:approval]]")))
        thread_id = first[0]["id"].split(":")[0]

        async def refused(workflow: str, resume: list[dict[str, Any]], by: httpx.AsyncClient = http) -> str:
            last = await short_run(by, workflow, asked(runId="refused", resume=resume))
            assert last["type"] == "RUN_ERROR"
            assert last["message"]
            return str(last["code"])

        approved = answers(first, APPROVED)
        assert await refused(workflow, [approved[0] | {"interruptId": f"{thread_id}:12:1"}]) == "not_found"
        assert await refused(workflow, [approved[0] | {"interruptId": "unknown"}]) == "not_found"
        assert await refused(other, approved) == "not_found"
        assert (
            await refused(workflow, [approved[0] | {"interruptId": f"{thread_id}:13:2"}])
            == "invalid_argument"
        )
        assert await refused(workflow, answers(first, {"status": "resolved"})) == "invalid_argument"
        assert await refused(workflow, answers(first, APPROVED), eve) == "not_found"
        async with caller_of(resuming, "vic@example.com") as viewer:
            user = (await viewer.get("/api/me")).json()
            (proposal,) = (await http.get("/api/proposals")).json()["items"]
            access = f"/api/proposals/{proposal['id']}/access/{user['user_id']}"
            assert (await http.put(access, json={"access_type": "viewer"})).is_success
            request = asked(runId="refused", resume=approved)
            answer = await viewer.post(f"/api/workflows/{workflow}/agui", json=request)
            assert (answer.status_code, problem(answer)["code"]) == (403, "permission_denied")
        answer = await http.post(
            f"/api/workflows/{workflow}/agui",
            json=asked(runId="refused", resume=approved),
            headers={"Last-Event-ID": "9999"},
        )
        assert (answer.status_code, problem(answer)["code"]) == (410, "cursor_out_of_range")

        async def is_still_asked() -> None:
            # A moment after the question's event.
            (proposal,) = (await http.get("/api/proposals")).json()["items"]
            assert proposal["status"] == "awaiting_input"

        await retried(is_still_asked, AssertionError)
        # Nothing of this has answered the question.
        second = interrupts_of(await run(http, workflow, asked(runId="2", resume=approved)))
        assert await refused(workflow, answers(first, REJECTED)) == "input_closed"
        # Who gives a closed question up follows the run, which waits for another answer.
        given_up = asked(runId="3", resume=answers(first, CANCELLED))
        assert interrupts_of(await run(http, workflow, given_up)) == second
        await client.call("POST", f"/api/refinements/{thread_id}/cancel")
        assert await refused(workflow, answers(second, APPROVED)) == "input_closed"
        ended = await run(http, workflow, asked(runId="4", resume=answers(second, CANCELLED)))
        assert ended[-1][1]["outcome"] == {"type": "cancelled"}


async def test_without_a_runtime_that_continues_runs_only_giving_up_is_possible_and_cancels(
    http: httpx.AsyncClient, workflow: str
) -> None:
    (interrupt,) = interrupts_of(await run(http, workflow, asked("[[replay:approval]]")))
    assert interrupt["metadata"]["can_resume"] is False
    assert "responseSchema" not in interrupt
    last = await short_run(http, workflow, asked(runId="2", resume=answers([interrupt], APPROVED)))
    assert (last["type"], last["code"]) == ("RUN_ERROR", "reply_unsupported")
    given_up = asked(runId="3", resume=answers([interrupt], CANCELLED))
    events = await run(http, workflow, given_up)
    assert (events[0][1]["type"], events[-1][1]["outcome"]) == ("RUN_STARTED", {"type": "cancelled"})
    (proposal,) = (await http.get("/api/proposals")).json()["items"]
    assert proposal["status"] == "cancelled"


async def test_a_question_whose_time_is_over_can_be_given_up_and_not_answered(database: str) -> None:
    # On a busy machine, little time may be over before the question.
    for seconds in (3.0, 15.0, 60.0):
        async with running_hub(database, runtime_can_resume=True, run_max_duration_s=seconds) as hub:
            if await _given_up_too_late(hub):
                return
    raise AssertionError("no run came to its question in time")


async def _given_up_too_late(hub: RunningHub) -> bool:
    """Answer a question whose time is over, and give it up. False: the time was over before the question."""
    async with caller_of(hub) as http, hub.client() as client:
        workflow = await a_workflow(client)
        events = await run(http, workflow, asked("[[replay:approval]]"))
        if events[-1][1]["type"] == "RUN_ERROR":
            return False
        interrupts = interrupts_of(events)
        thread_id = interrupts[0]["id"].split(":")[0]
        async for _ in client.follow(thread_id):
            pass
        late = asked(runId="2", resume=answers(interrupts, APPROVED))
        last = await short_run(http, workflow, late)
        assert (last["type"], last["code"]) == ("RUN_ERROR", "input_closed")
        last = await short_run(http, workflow, asked(runId="3", resume=answers(interrupts, CANCELLED)))
        assert (last["type"], last["outcome"]) == ("RUN_FINISHED", {"type": "cancelled"})
        return True
