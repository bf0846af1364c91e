"""Verdicts over breaks, restarts and lies of the runtime: errors, open questions, and files that only a late
frame or the state has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.domain.journal.events import (
    Discontinuity,
    Event,
    FrameReason,
    InputRequested,
    Terminal,
    UpstreamFrame,
)
from server.domain.model import Refinement
from tests.support.driven import Driven, driven, verdict
from tests.support.hand_clock import until
from tests.support.runtime import (
    CLOSE,
    END,
    SILENCE,
    ScriptedRuntime,
    Stream,
    files,
    files_frame,
    serve_runtime,
    state_frame,
    token_frame,
)

ERROR = {"event_type": "error", "data": {"error": {"message": "it broke"}, "context": "execution_failed"}}
GAVE_UP = {"event_type": "error", "data": {"error": "Execution timeout", "context": "streaming_timeout"}}
ASKS = state_frame(files=files(a="1"), __interrupt__="(Interrupt(value={'ok?': 1}, id='1'),)")
LIE = {"status": "completed", "generated_files": {}}


class Hubs:
    """Hubs on one runtime and one database, one after the other."""

    def __init__(self, url: str, database: str, pool: Any) -> None:
        self._url, self._database, self._pool = url, database, pool

    @asynccontextmanager
    async def hub(self, **settings: Any) -> AsyncIterator[Driven]:
        chosen = {"run_idle_s": 30.0} | settings
        async with driven(self._url, self._database, self._pool, **chosen) as on:
            yield on


@asynccontextmanager
async def on_runtime(script: ScriptedRuntime, database: str, pool: Any) -> AsyncIterator[Hubs]:
    async with serve_runtime(script) as url:
        yield Hubs(url, database, pool)


async def outcome(script: ScriptedRuntime, database: str, pool: Any, **settings: Any) -> Any:
    """The proposal and the events of a run that ends."""
    async with on_runtime(script, database, pool) as hubs, hubs.hub(**settings) as on:
        return await on.outcome(await on.start())


async def journalled(on: Driven, started: Refinement, last_seq: int) -> None:
    async with asyncio.timeout(60):
        while (await on.core.refinements.get(on.user, started.thread_id)).last_seq < last_seq:
            await asyncio.sleep(0.01)


def terminals(events: list[Event]) -> list[int]:
    return [event.seq for event in events if isinstance(event.kind, Terminal)]


# Errors.


@pytest.mark.parametrize("state", [LIE, {"status": "running", "generated_files": None}, None])
async def test_an_error_without_an_end_is_failed_whatever_the_state_says(
    database: str, pool: Any, state: dict[str, Any] | None
) -> None:
    script = ScriptedRuntime([[files_frame(a="1"), ERROR, CLOSE]], states=[state])
    proposal, events = await outcome(script, database, pool)
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1"})
    assert proposal.failure.message == "it broke"
    assert terminals(events) == [len(events)]
    assert script.connections == 1


async def test_an_error_outlives_a_restart_of_the_hub(database: str, pool: Any) -> None:
    script = ScriptedRuntime([[files_frame(a="1"), ERROR, SILENCE]], states=[LIE])
    async with on_runtime(script, database, pool) as hubs:
        async with hubs.hub() as first:
            started = await first.start()
            await journalled(first, started, 3)
        async with hubs.hub() as second:
            second.user = first.user
            proposal, events = await second.outcome(started)
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1"})
    assert terminals(events) == [len(events)]


@pytest.mark.parametrize(
    "context", ["streaming_timeout", "event_streaming", "streaming_loop", "websocket_streaming"]
)
async def test_an_error_of_the_endpoint_is_no_failure_of_the_run(
    database: str, pool: Any, context: str
) -> None:
    gave_up = {"event_type": "error", "data": {"error": "no more of it", "context": context}}
    script = ScriptedRuntime(
        [[files_frame(a="1"), gave_up, CLOSE], [files_frame(a="2"), END]],
        states=[{"status": "running", "generated_files": None}],
    )
    proposal, _ = await outcome(script, database, pool)
    assert verdict(proposal) == ("completed", None, {"/a": "2"})


# Questions.


@pytest.mark.parametrize(
    "behind",
    [
        [END],
        [files_frame(a="2"), END],
        [files_frame(a="2"), token_frame("x"), END],
        [state_frame(files={}), END],
        [GAVE_UP, END],
        [CLOSE],
        [files_frame(a="2"), CLOSE],
        [END, files_frame(a="2")],
    ],
)
async def test_a_question_stays_open_whatever_follows(database: str, pool: Any, behind: list[Any]) -> None:
    script = ScriptedRuntime([[ASKS, *behind]], states=[LIE])
    async with on_runtime(script, database, pool) as hubs, hubs.hub() as on:
        started = await on.start()
        await on.waiting(started)
        await on.core.refinements.cancel(on.user, started.thread_id)
        proposal, events = await on.outcome(started)
        assert proposal.status.value == "cancelled"
    assert sum(isinstance(event.kind, InputRequested) for event in events) == 1
    assert terminals(events) == [len(events)]


async def test_a_question_outlives_a_restart_of_the_hub(database: str, pool: Any) -> None:
    script = ScriptedRuntime([[ASKS, files_frame(a="2"), END]], states=[LIE])
    async with on_runtime(script, database, pool) as hubs:
        async with hubs.hub() as first:
            started = await first.start()
            await first.waiting(started)
            before = (await first.core.refinements.get(first.user, started.thread_id)).last_seq
        asked = script.asked
        async with hubs.hub() as second:
            second.user = first.user
            await until(lambda: script.asked > asked)
            await second.waiting(started)
            after = (await second.core.refinements.get(second.user, started.thread_id)).last_seq
            await second.core.refinements.cancel(second.user, started.thread_id)
            proposal, _ = await second.outcome(started)
    assert before == after
    assert script.connections == 1
    assert verdict(proposal) == ("cancelled", "cancelled", {"/a": "2"})


async def test_the_files_that_only_the_state_has_are_kept_while_the_agent_waits(
    database: str, pool: Any
) -> None:
    state = {"status": "completed", "generated_files": files(a="1", b="2")}
    script = ScriptedRuntime([[ASKS, CLOSE]], states=[state])
    proposal, events = await outcome(script, database, pool, run_max_duration_s=3)
    assert verdict(proposal) == ("failed", "input_not_given", {"/a": "1", "/b": "2"})
    assert any(isinstance(event.kind, Discontinuity) for event in events)


async def test_a_state_that_fails_later_ends_a_run_that_waits(database: str, pool: Any) -> None:
    failed = {"status": "failed", "error": {"message": "it broke"}, "generated_files": files(b="2")}
    script = ScriptedRuntime([[ASKS, END]], states=[LIE, {"status": "running"}, 500, failed])
    proposal, events = await outcome(script, database, pool, limits={"waiting_poll_s": 0.05})
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1", "/b": "2"})
    assert terminals(events) == [len(events)]
    assert script.connections == 1


async def test_a_question_among_the_updates_awaits_input(database: str, pool: Any) -> None:
    asks = {"event_type": "on_updates", "data": {"__interrupt__": "(Interrupt(value={}, id='1'),)"}}
    script = ScriptedRuntime([[files_frame(a="1"), asks, files_frame(a="2"), END]], states=[LIE])
    proposal, _ = await outcome(script, database, pool, run_max_duration_s=3)
    assert verdict(proposal) == ("failed", "input_not_given", {"/a": "2"})


# Frames after the end.


async def test_frames_behind_the_end_count_and_the_terminal_event_stays_the_last(
    database: str, pool: Any
) -> None:
    late = [token_frame("late"), files_frame(a="2", b="3"), END, token_frame("later")]
    proposal, events = await outcome(ScriptedRuntime([[files_frame(a="1"), END, *late]]), database, pool)
    assert verdict(proposal) == ("completed", None, {"/a": "2", "/b": "3"})
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == [
        "RunStarted",
        "StateUpdate",
        "Token",
        "StateUpdate",
        "UpstreamFrame",
        "Token",
        "Terminal",
    ]
    assert UpstreamFrame("end", FrameReason.AFTER_END, json.dumps(END).encode()) in [
        event.kind for event in events
    ]


async def test_an_error_behind_the_end_is_a_failure(database: str, pool: Any) -> None:
    proposal, _ = await outcome(ScriptedRuntime([[files_frame(a="1"), END, ERROR]]), database, pool)
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1"})


async def test_a_stream_that_stays_open_after_its_end_is_not_waited_for(database: str, pool: Any) -> None:
    script = ScriptedRuntime([[files_frame(a="1"), END, SILENCE]])
    proposal, _ = await outcome(script, database, pool)
    assert verdict(proposal) == ("completed", None, {"/a": "1"})


# Files.


async def test_the_files_of_a_run_whose_frames_cannot_be_read_are_those_of_the_state(
    database: str, pool: Any
) -> None:
    part = {"type": "values", "ns": [], "data": {"files": files(a="1")}, "interrupts": []}
    state = {"status": "completed", "generated_files": files(a="1")}
    proposal, _ = await outcome(ScriptedRuntime([[part, END]], states=[state]), database, pool)
    assert verdict(proposal) == ("completed", None, {"/a": "1"})


async def test_a_run_of_text_alone_is_completed_without_files(database: str, pool: Any) -> None:
    said = state_frame(messages="[HumanMessage(content='hi', id='1')]")
    script = ScriptedRuntime([[token_frame("hello"), said, END]], states=[LIE])
    proposal, events = await outcome(script, database, pool)
    assert verdict(proposal) == ("completed", None, {})
    assert {event.epoch for event in events} == {1}


async def test_what_a_failed_state_lacks_is_kept_and_what_the_frames_lack_is_added(
    database: str, pool: Any
) -> None:
    state = {"status": "failed", "generated_files": files(b="2"), "error": "it broke"}
    script = ScriptedRuntime([[files_frame(a="1"), CLOSE]], states=[state])
    proposal, _ = await outcome(script, database, pool)
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1", "/b": "2"})


async def test_an_unreadable_file_of_the_frames_is_not_forgotten_for_those_of_a_failed_state(
    database: str, pool: Any
) -> None:
    state = {"status": "failed", "generated_files": files(b="2"), "error": "it broke"}
    shown = state_frame(files=files(a="1") | {"/odd": 7})
    proposal, _ = await outcome(ScriptedRuntime([[shown, CLOSE]], states=[state]), database, pool)
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1", "/b": "2"})
    assert [rejected.path for rejected in proposal.rejected_files] == ["/odd"]


@pytest.mark.parametrize(
    "unread",
    [["/a", "/b"], 5, "<FileMap object at 0x7f>", files(a="1") | {"/b": 7}, files(a="1") | {"/c": 7}],
)
async def test_a_last_file_map_that_cannot_be_read_is_asked_for(
    database: str, pool: Any, unread: Any
) -> None:
    script = ScriptedRuntime(
        [[files_frame(a="1"), state_frame(files=unread), END]],
        states=[{"status": "completed", "generated_files": files(a="1", b="2")}],
    )
    proposal, events = await outcome(script, database, pool)
    assert verdict(proposal) == ("completed", None, {"/a": "1", "/b": "2"})
    assert {event.epoch for event in events} == {1}


@pytest.mark.parametrize(
    "state", [LIE, {"status": "completed", "generated_files": {"/c": 7}}, {"status": "running"}, 500]
)
async def test_files_are_kept_when_neither_the_last_file_map_nor_the_state_can_be_read(
    database: str, pool: Any, state: Any
) -> None:
    script = ScriptedRuntime([[files_frame(a="1"), state_frame(files=5), END]], states=[state])
    proposal, _ = await outcome(script, database, pool)
    assert verdict(proposal) == ("completed", None, {"/a": "1"})


async def test_a_file_beside_an_unreadable_one_is_kept_though_the_state_lacks_it(
    database: str, pool: Any
) -> None:
    shown = state_frame(files=files(a="1") | {"/b": 7})
    state = {"status": "completed", "generated_files": files(b="2")}
    proposal, _ = await outcome(ScriptedRuntime([[shown, END]], states=[state]), database, pool)
    assert verdict(proposal) == ("completed", None, {"/a": "1", "/b": "2"})
    assert not proposal.rejected_files


async def test_an_unread_file_map_is_known_after_a_restart_of_the_hub(database: str, pool: Any) -> None:
    shown = [files_frame(a="1"), state_frame(files=5)]
    script = ScriptedRuntime(
        [[*shown, SILENCE], [*shown, END]],
        states=[{"status": "completed", "generated_files": files(a="1", b="2")}],
    )
    async with on_runtime(script, database, pool) as hubs:
        async with hubs.hub(runtime_profile="full") as first:
            started = await first.start()
            await journalled(first, started, 3)
        async with hubs.hub(runtime_profile="full") as second:
            second.user = first.user
            proposal, events = await second.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "1", "/b": "2"})
    assert {event.epoch for event in events} == {1}


# Silence.


class QuietRuntime(ScriptedRuntime):
    """Sends a file, is quiet until `go_on`, and sends the rest on the same connection."""

    go_on: asyncio.Event

    async def stream(self, stream: Stream) -> None:
        await stream.accept()
        self.connections += 1
        await stream.send(json.dumps(files_frame(a="1")).encode())
        await self.go_on.wait()
        for frame in (files_frame(a="2"), END):
            await stream.send(json.dumps(frame).encode())


@pytest.mark.parametrize("state", [LIE, {"status": "running", "generated_files": None}, 500])
async def test_a_silent_stream_is_asked_about_and_not_left(
    database: str, pool: Any, state: dict[str, Any] | int
) -> None:
    script = QuietRuntime(states=[state])
    script.go_on = asyncio.Event()
    async with on_runtime(script, database, pool) as hubs, hubs.hub(run_idle_s=0.1) as on:
        started = await on.start()
        await until(lambda: script.asked >= 5)
        script.go_on.set()
        proposal, events = await on.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "2"})
    assert script.connections == 1
    assert {event.epoch for event in events} == {1}


async def test_a_silent_stream_and_a_state_that_lies_fail_the_run(database: str, pool: Any) -> None:
    script = QuietRuntime(states=[LIE])
    script.go_on = asyncio.Event()
    proposal, events = await outcome(script, database, pool, run_idle_s=0.1, run_silent_s=0.5)
    assert verdict(proposal) == ("failed", "upstream_silent", {"/a": "1"})
    assert script.connections == 1
    assert any(isinstance(event.kind, Discontinuity) for event in events)
