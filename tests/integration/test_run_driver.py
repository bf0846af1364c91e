"""How runs end: every row of ADR 0010's table, against a runtime that does as its script says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from server.auth.tokens import SharedSecret
from server.compose import open_core
from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.journal.events import Discontinuity, Event, InputRequested, StateUpdate, Terminal, Token
from server.domain.model import Proposal, ProposalStatus, StartRefinement
from server.settings import load
from server.wire.codec import ProtobufCodec
from tests.support.driven import Driven, driven, verdict
from tests.support.servers import asgi_server
from tests.support.tokens import SECRET

CODEC = ProtobufCodec()
END = {"event_type": "end", "data": {}}


def state_frame(**data: Any) -> dict[str, Any]:
    return {"event_type": "on_state_update", "data": data}


def files(**contents: str) -> dict[str, Any]:
    return {f"/{name}": {"content": text, "encoding": "utf-8"} for name, text in contents.items()}


def token(text: str) -> dict[str, Any]:
    return {"event_type": "on_llm_stream", "data": {"content": text}}


#: In a stream's script: close without an end, or say nothing more.
CLOSE, SILENCE = "close", "silence"


@dataclass
class Script:
    """A runtime as an ASGI app. `streams`: what each connection sends, the last one for all later.

    `states`: what each look at the state answers, the last one for all later; None is 404, a number
    another status.
    `invokes`: the status of each POST, the last one for all later.
    """

    streams: list[list[Any]]
    states: list[dict[str, Any] | int | None] = field(default_factory=lambda: [None])
    invokes: list[int] = field(default_factory=lambda: [200])
    jobs: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    asked: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        if scope["type"] == "websocket":
            await self._stream(receive, send)
        elif scope["method"] == "POST":
            await self._invoke(receive, send)
        else:
            state = self.states[min(self.asked, len(self.states) - 1)]
            self.asked += 1
            status = 404 if state is None else state if isinstance(state, int) else 200
            await _answer(send, status, state if isinstance(state, dict) else {"detail": "unknown"})

    async def _invoke(self, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        job = json.loads(body)
        status = self.invokes[min(len(self.jobs), len(self.invokes) - 1)]
        self.jobs.append(job)
        await _answer(send, status, {"thread_id": job["job_id"], "status": "started"})

    async def _stream(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        steps = self.streams[min(self.connections, len(self.streams) - 1)]
        self.connections += 1
        for step in steps:
            if step == SILENCE:
                while (await receive())["type"] != "websocket.disconnect":
                    pass
                return
            if step != CLOSE:
                await send({"type": "websocket.send", "text": json.dumps(step)})
        await send({"type": "websocket.close", "code": 1000})


async def _answer(send: Any, status: int, body: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


@dataclass
class Setting(Driven):
    """A hub's core on a runtime that plays a script."""

    script: Script

    async def finished(self, prompt: str = "do it") -> tuple[Proposal, list[Event]]:
        """Start a refinement; its proposal and events once it is over."""
        return await self.outcome(await self.start(prompt))


Opener = Callable[..., Any]


@pytest.fixture
def setting(database: str, pool: Any) -> Opener:
    @asynccontextmanager
    async def opened(script: Script, **settings: Any) -> AsyncIterator[Setting]:
        async with (
            asgi_server(script) as url,
            driven(url, database, pool, **{"run_idle_s": 30.0} | settings) as on,
        ):
            yield Setting(on.core, on.user, on.workflow_id, script)

    return opened


async def test_an_end_after_files_is_completed_with_the_last_map(setting: Opener) -> None:
    script = Script([[state_frame(files=files(a="1", b="2")), state_frame(files=files(a="3")), END]])
    async with setting(script) as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "3"})
    assert events[-1].kind == Terminal(events[-1].kind.outcome, "", "", 1)
    assert len(events) == 4
    assert script.asked == 0


async def test_an_end_after_a_conversation_without_files_is_completed_without_files(setting: Opener) -> None:
    async with setting(Script([[token("hello"), state_frame(messages="[]"), END]])) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("completed", None, {})


async def test_all_files_deleted_is_completed_without_files(setting: Opener) -> None:
    script = Script([[state_frame(files=files(a="1")), state_frame(files={}), END]])
    async with setting(script) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("completed", None, {})


async def test_an_error_then_an_end_is_failed_with_the_reason_and_the_files_until_then(
    setting: Opener,
) -> None:
    error = {"event_type": "error", "data": {"error": {"message": "it broke"}, "context": "execution_failed"}}
    async with setting(Script([[state_frame(files=files(a="1")), error, END]])) as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1"})
    assert proposal.failure is not None
    assert proposal.failure.message == "it broke"
    assert sum(isinstance(event.kind, Terminal) for event in events) == 1


async def test_a_streaming_timeout_is_no_verdict_while_the_run_goes_on(setting: Opener) -> None:
    timeout = {"event_type": "error", "data": {"error": "Execution timeout", "context": "streaming_timeout"}}
    script = Script(
        [[state_frame(files=files(a="1")), timeout, END], [state_frame(files=files(a="2")), END]],
        states=[{"status": "running", "generated_files": None}],
    )
    async with setting(script) as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "2"})
    assert [event.epoch for event in events][-1] == 2
    assert any(isinstance(event.kind, Discontinuity) for event in events)


async def test_a_close_without_an_end_is_weighed_by_the_state(setting: Opener) -> None:
    shown = {"status": "completed", "generated_files": files(a="1", b="2")}
    async with setting(Script([[token("x"), CLOSE]], states=[shown])) as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1", "/b": "2"})
    changes = [
        change.path for event in events if isinstance(event.kind, StateUpdate) for change in event.kind.files
    ]
    assert changes == ["/a", "/b"]


async def test_silence_is_weighed_by_the_state(setting: Opener) -> None:
    shown = {"status": "failed", "generated_files": None, "error": {"message": "it broke"}}
    script = Script([[state_frame(files=files(a="1")), SILENCE]], states=[shown])
    async with setting(script, run_idle_s=0.3) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1"})


async def test_completed_without_files_is_doubted_then_failed(setting: Opener) -> None:
    lie = {"status": "completed", "generated_files": {}}
    async with setting(Script([[token("x"), CLOSE]], states=[lie])) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "empty_result", {})
    assert on.script.asked > 2


async def test_completed_without_files_never_erases_those_that_the_stream_showed(setting: Opener) -> None:
    lie = {"status": "completed", "generated_files": {}}
    async with setting(Script([[state_frame(files=files(a="1")), CLOSE]], states=[lie])) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})


async def test_completed_too_early_is_corrected_when_files_appear(setting: Opener) -> None:
    lie = {"status": "completed", "generated_files": {}}
    truth = {"status": "completed", "generated_files": files(a="1")}
    async with setting(Script([[token("x"), CLOSE]], states=[lie, lie, truth])) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})


async def test_a_pollers_summary_is_no_verdict(setting: Opener) -> None:
    progress = state_frame(messages="Execution in progress... (1.0s)", status="running")
    summary = state_frame(messages="Execution completed", files={}, result={"message": "Execution completed"})
    truth = {"status": "completed", "generated_files": files(a="1")}
    lie = {"status": "completed", "generated_files": {}}
    async with setting(Script([[progress, summary, END]], states=[lie, truth])) as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    # The progress is passed on, not journalled.
    assert len(events) == 4


async def test_a_poller_that_never_shows_files_fails_with_a_reason(setting: Opener) -> None:
    summary = state_frame(messages="Execution completed", files={}, result={"message": "x"})
    lie = {"status": "completed", "generated_files": {}}
    async with setting(Script([[summary, END]], states=[lie])) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "empty_result", {})


async def test_a_run_that_the_runtime_forgot_is_failed(setting: Opener) -> None:
    async with setting(Script([[state_frame(files=files(a="1")), CLOSE]], states=[None])) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "upstream_lost", {"/a": "1"})


async def test_faults_between_the_answers_do_not_put_off_that_a_run_was_forgotten(setting: Opener) -> None:
    script = Script([[state_frame(files=files(a="1")), CLOSE]], states=[None, 500] * 40)
    async with setting(script) as on:
        proposal, _ = await on.finished()
        limits = on.core.runner.context.limits
    assert verdict(proposal) == ("failed", "upstream_lost", {"/a": "1"})
    assert script.asked <= 2 * (limits.max_unknown_thread_answers + 1 + limits.max_fruitless_reconnects)


async def test_a_run_that_goes_on_is_followed_again_with_a_mark(setting: Opener) -> None:
    running = {"status": "running", "generated_files": None}
    script = Script(
        [[token("a"), CLOSE], [CLOSE], [token("b"), state_frame(files=files(a="1")), END]], states=[running]
    )
    async with setting(script) as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "Discontinuity", "Token", "StateUpdate", "Terminal"]
    assert [event.epoch for event in events] == [1, 1, 2, 2, 2, 2]


async def test_a_full_replay_is_joined_without_a_mark_and_without_repeats(setting: Opener) -> None:
    frames = [token("a"), token("a"), state_frame(files=files(a="1")), token("b")]
    running = {"status": "running", "generated_files": None}
    script = Script([[*frames[:2], CLOSE], [*frames[:3], CLOSE], [*frames, END]], states=[running])
    async with setting(script, runtime_profile="full") as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "Token", "StateUpdate", "Token", "Terminal"]
    assert {event.epoch for event in events} == {1}


async def test_a_full_replay_that_differs_is_marked_once_and_nothing_is_lost(setting: Opener) -> None:
    running = {"status": "running", "generated_files": None}
    script = Script(
        [[token("a"), token("b"), CLOSE], [token("a"), token("X"), state_frame(files=files(a="1")), END]],
        states=[running],
    )
    async with setting(script, runtime_profile="full") as on:
        _, events = await on.finished()
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "Token", "Discontinuity", "Token", "StateUpdate", "Terminal"]
    assert [event.kind.text for event in events if isinstance(event.kind, Token)] == ["a", "b", "X"]


async def test_replays_that_break_early_are_tried_again_before_a_state_decides(setting: Opener) -> None:
    frames = [token("a"), state_frame(files=files(a="1")), token("b")]
    over = {"status": "completed", "generated_files": files(a="1")}
    broken = [*frames[:2], CLOSE]
    script = Script([broken, broken, [frames[0], CLOSE], [*frames, END]], states=[over])
    async with setting(script, runtime_profile="full") as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "StateUpdate", "Token", "Terminal"]


async def test_replays_that_always_break_leave_the_verdict_to_the_state_behind_a_mark(
    setting: Opener,
) -> None:
    over = {"status": "completed", "generated_files": files(a="2")}
    script = Script([[state_frame(files=files(a="1")), CLOSE]], states=[over])
    async with setting(script, runtime_profile="full") as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "2"})
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "StateUpdate", "Discontinuity", "StateUpdate", "Terminal"]
    assert script.connections == 4


async def test_a_replay_that_repeats_all_and_is_silent_has_nothing_more(setting: Opener) -> None:
    over = {"status": "completed", "generated_files": files(a="1")}
    script = Script([[state_frame(files=files(a="1")), SILENCE]], states=[over])
    async with setting(script, runtime_profile="full", run_idle_s=0.3) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    assert script.connections == 2


def numbered(number: int, **data: Any) -> dict[str, Any]:
    frame = state_frame(**data) if data else token(str(number))
    return {**frame, "id": number}


async def test_frames_with_ids_join_up_wherever_the_connection_begins(setting: Opener) -> None:
    running = {"status": "running", "generated_files": None}
    frames = [numbered(1), numbered(2), numbered(3), numbered(4, files=files(a="1"))]
    script = Script([[*frames[:3], CLOSE], [*frames[1:], END]], states=[running])
    async with setting(script, runtime_profile="ids") as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "Token", "Token", "StateUpdate", "Terminal"]


async def test_frames_with_ids_that_leave_a_hole_are_marked(setting: Opener) -> None:
    running = {"status": "running", "generated_files": None}
    frames = [numbered(1), numbered(2), numbered(3), numbered(4, files=files(a="1"))]
    script = Script([[*frames[:2], CLOSE], [frames[0], *frames[3:], END]], states=[running])
    async with setting(script, runtime_profile="ids") as on:
        _, events = await on.finished()
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "Token", "Discontinuity", "StateUpdate", "Terminal"]


async def test_frames_with_ids_are_asked_for_again_before_a_state_decides(setting: Opener) -> None:
    over = {"status": "completed", "generated_files": files(a="1")}
    frames = [numbered(1), numbered(2), numbered(3), numbered(4, files=files(a="1"))]
    script = Script([[*frames[:2], CLOSE], [frames[1], CLOSE], [*frames[1:], END]], states=[over])
    async with setting(script, runtime_profile="ids") as on:
        _, events = await on.finished()
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "Token", "Token", "StateUpdate", "Terminal"]


async def test_an_error_that_a_full_replay_repeats_is_still_an_error(setting: Opener) -> None:
    error = {"event_type": "error", "data": {"error": {"message": "it broke"}, "context": "execution_failed"}}
    frames = [state_frame(files=files(a="1")), error]
    running = {"status": "running", "generated_files": None}
    script = Script([[*frames, CLOSE], [*frames, END]], states=[running])
    async with setting(script, runtime_profile="full") as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1"})
    assert proposal.failure is not None
    assert proposal.failure.message == "it broke"


async def test_a_run_taken_over_after_its_time_keeps_the_files_of_its_journal(
    setting: Opener, database: str, pool: Any
) -> None:
    script = Script([[state_frame(files=files(a="1")), SILENCE]])
    async with setting(script) as on:
        started = await on.start()
        subscription = await on.core.refinements.follow(on.user, started.thread_id, 1)
        await subscription.step()
        subscription.close()
    await pool.execute("UPDATE runs SET created_at = now() - interval '1 hour'")
    async with asgi_server(script) as url, driven(url, database, pool) as later:
        async with asyncio.timeout(20):
            while not (
                proposal := await later.core.proposals.get(on.user, started.proposal_id)
            ).status.terminal:
                await asyncio.sleep(0.02)
    assert verdict(proposal) == ("failed", "deadline_exceeded", {"/a": "1"})


async def test_a_run_over_its_time_is_failed_with_its_files(setting: Opener) -> None:
    script = Script([[state_frame(files=files(a="1")), SILENCE]])
    async with setting(script, run_max_duration_s=0.5) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "deadline_exceeded", {"/a": "1"})


async def test_an_agent_that_asks_leaves_the_proposal_awaiting_input_until_it_is_cancelled(
    setting: Opener,
) -> None:
    asks = state_frame(files=files(a="1"), __interrupt__="[Interrupt(value='ok?')]")
    async with setting(Script([[asks, END]]), run_idle_s=0.2) as on:
        started = await on.start()
        async with asyncio.timeout(10):
            while True:
                proposal = await on.core.proposals.get(on.user, started.proposal_id)
                if proposal.status is ProposalStatus.AWAITING_INPUT:
                    break
                await asyncio.sleep(0.01)
        cancelled = await on.core.refinements.cancel(on.user, started.thread_id)
        events = await on.events(started.thread_id)
        proposal = await on.core.proposals.get(on.user, started.proposal_id)
    assert cancelled.status is ProposalStatus.CANCELLED
    assert verdict(proposal) == ("cancelled", "cancelled", {"/a": "1"})
    assert sum(isinstance(event.kind, InputRequested) for event in events) == 1


async def test_an_agent_that_asks_and_gets_no_answer_in_time_is_failed(setting: Opener) -> None:
    asks = state_frame(files=files(a="1"), __interrupt__="[Interrupt(value='ok?')]")
    async with setting(Script([[asks, END]]), run_max_duration_s=0.6) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "input_not_given", {"/a": "1"})


async def test_cancelling_stops_the_run_and_keeps_its_files(setting: Opener) -> None:
    async with setting(Script([[state_frame(files=files(a="1")), SILENCE]])) as on:
        started = await on.start()
        subscription = await on.core.refinements.follow(on.user, started.thread_id, 1)
        await subscription.step()
        subscription.close()
        refinement = await on.core.refinements.cancel(on.user, started.thread_id)
        proposal = await on.core.proposals.get(on.user, started.proposal_id)
        assert on.core.runner.live == 0
    assert refinement.status is ProposalStatus.CANCELLED
    assert verdict(proposal) == ("cancelled", "cancelled", {"/a": "1"})


# --- Invoker ------------------------------------------------------------------------------------


async def test_the_job_has_the_prompt_where_the_seed_and_the_published_runtime_look(setting: Opener) -> None:
    async with setting(Script([[END]])) as on:
        command = StartRefinement(on.workflow_id, "do it", "/THE_CAST/a.md", "lines 1-2")
        started = (await on.core.refinements.start(on.user, command)).refinement
    job = on.script.jobs[0]
    assert job["job_id"] == str(started.thread_id)
    assert job["input_payload"]["messages"] == [{"role": "user", "content": "do it"}]
    assert job["agent_definition"]["user_request"] == "do it"
    assert job["input_payload"]["context_file_path"] == "/THE_CAST/a.md"
    UUID(job["trace_id"])


@pytest.mark.parametrize("status", [400, 422, 500, 503])
async def test_a_job_that_the_runtime_refuses_is_told_and_stored_as_failed(
    setting: Opener, pool: Any, status: int
) -> None:
    async with setting(Script([[END]], invokes=[status])) as on:
        with pytest.raises(RuntimeRefused) as refused:
            await on.start()
        page = await on.core.proposals.list(on.user, limit=5)
        assert await pool.fetchval("SELECT count(*) FROM runs WHERE status = 'failed'") == 1
    assert [(p.status.value, p.failure.reason) for p in page.items] == [("failed", "runtime_refused")]
    assert str(page.items[0].id) in str(refused.value)
    assert len(on.script.jobs) == 1


async def test_a_runtime_that_is_down_is_told_and_nothing_stays_processing(
    setting: Opener, database: str
) -> None:
    verifier = SharedSecret(SECRET)
    async with (
        setting(Script([[END]])) as on,
        open_core(load(env="dev"), dsn=database, runtime_url="http://127.0.0.1:9", verifier=verifier) as away,
    ):
        with pytest.raises(RuntimeUnavailable):
            await away.refinements.start(on.user, StartRefinement(on.workflow_id, "x"))
        page = await on.core.proposals.list(on.user, limit=5)
    assert [(p.status.value, p.failure.reason) for p in page.items] == [("failed", "runtime_unavailable")]
