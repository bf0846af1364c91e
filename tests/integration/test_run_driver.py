"""How runs end, from the runtime's bytes to the proposal: the rows of ADR 0010 on a scripted runtime."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from server.core import open_core
from server.domain.drafts.changes import UpdateDraft
from server.domain.errors import Conflict, RuntimeRefused, RuntimeUnavailable, Unprocessable
from server.domain.etags import IfMatch
from server.domain.journal.events import Discontinuity, Event, InputRequested, StateUpdate, Terminal, Token
from server.domain.model import CreateWorkflow, Proposal, ProposalStatus, StartRefinement
from server.encoding.event_batch import delimited_event
from server.settings.loading import load
from server.wire.agent_definition import DEFAULT_DEFINITION
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
from tests.support.stored import a_run, a_workflow
from tests.support.tokens import VERIFIER


@dataclass
class ScriptedHub(Driven):
    """A hub's core on a scripted runtime."""

    script: ScriptedRuntime

    async def finished(self, prompt: str = "do it") -> tuple[Proposal, list[Event]]:
        """Start a refinement; its proposal and events once it is over."""
        return await self.outcome(await self.start(prompt))


Opener = Callable[..., Any]


@pytest.fixture
def hub(database: str, pool: Any) -> Opener:
    @asynccontextmanager
    async def opened(script: ScriptedRuntime, **settings: Any) -> AsyncIterator[ScriptedHub]:
        async with (
            serve_runtime(script) as url,
            driven(url, database, pool, **{"run_idle_s": 30.0} | settings) as on,
        ):
            yield ScriptedHub(on.core, on.user, on.workflow_id, script)

    return opened


async def test_an_end_after_files_is_completed_with_the_last_map(hub: Opener) -> None:
    script = ScriptedRuntime([[files_frame(a="1", b="2"), files_frame(a="3"), END]])
    async with hub(script) as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "3"})
    assert events[-1].kind == Terminal(events[-1].kind.outcome, "", "", 1)
    assert len(events) == 4
    assert script.asked == 0


async def test_an_end_after_a_conversation_without_files_is_completed_without_files(hub: Opener) -> None:
    async with hub(ScriptedRuntime([[token_frame("hello"), state_frame(messages="[]"), END]])) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("completed", None, {})


async def test_all_files_deleted_is_completed_without_files(hub: Opener) -> None:
    script = ScriptedRuntime([[files_frame(a="1"), state_frame(files={}), END]])
    async with hub(script) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("completed", None, {})


async def test_an_error_then_an_end_is_failed_with_the_reason_and_the_files_until_then(
    hub: Opener,
) -> None:
    error = {"event_type": "error", "data": {"error": {"message": "it broke"}, "context": "execution_failed"}}
    async with hub(ScriptedRuntime([[files_frame(a="1"), error, END]])) as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1"})
    assert proposal.failure is not None
    assert proposal.failure.message == "it broke"
    assert sum(isinstance(event.kind, Terminal) for event in events) == 1


async def test_a_streaming_timeout_is_not_a_verdict_while_the_run_continues(hub: Opener) -> None:
    timeout = {"event_type": "error", "data": {"error": "Execution timeout", "context": "streaming_timeout"}}
    script = ScriptedRuntime(
        [[files_frame(a="1"), timeout, END], [files_frame(a="2"), END]],
        states=[{"status": "running", "generated_files": None}],
    )
    async with hub(script) as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "2"})
    assert [event.epoch for event in events][-1] == 2
    assert any(isinstance(event.kind, Discontinuity) for event in events)


async def test_after_a_close_without_an_end_the_state_decides(hub: Opener) -> None:
    shown = {"status": "completed", "generated_files": files(a="1", b="2")}
    async with hub(ScriptedRuntime([[token_frame("x"), CLOSE]], states=[shown])) as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1", "/b": "2"})
    changes = [
        change.path for event in events if isinstance(event.kind, StateUpdate) for change in event.kind.files
    ]
    assert changes == ["/a", "/b"]


async def test_after_silence_the_state_decides(hub: Opener) -> None:
    shown = {"status": "failed", "generated_files": None, "error": {"message": "it broke"}}
    script = ScriptedRuntime([[files_frame(a="1"), SILENCE]], states=[shown])
    async with hub(script, run_idle_s=0.3) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1"})


async def test_a_fault_of_the_hub_ends_the_run_as_internal(hub: Opener, pool: Any) -> None:
    """A run is taken over whose journal the hub cannot read."""
    async with hub(ScriptedRuntime([[END]])) as on:
        workflow = await a_workflow(pool, on.user)
        lease = await a_run(pool, on.user, workflow)
        log = on.core.journal.open(lease)
        log.put(delimited_event(b"\xff not a message"), b"", epoch=1)
        await log.flush()
        await pool.execute("UPDATE runs SET created_at = now(), lease_until = now()")
        async with asyncio.timeout(60):
            subscription = await on.core.refinements.follow(on.user, lease.thread_id, 0)
            while await subscription.step() is not None:
                pass
            subscription.close()
        proposal = await on.core.proposals.get(on.user, lease.proposal_id)
    assert verdict(proposal) == ("failed", "internal", {})
    assert on.script.connections == 0


@pytest.mark.parametrize(
    ("taken_over_with", "reason"),
    [
        ("status = 'invoking', attempt = 2", "invoke_uncertain"),
        ("status = 'running', takeovers = 1000, takeover_seq = last_seq", "crash_loop"),
    ],
)
async def test_a_run_that_cannot_be_continued_after_a_takeover_fails_with_the_reason(
    hub: Opener, pool: Any, taken_over_with: str, reason: str
) -> None:
    async with hub(ScriptedRuntime([[END]], states=[None])) as on:
        lease = await a_run(pool, on.user, await a_workflow(pool, on.user))
        await pool.execute(f"UPDATE runs SET {taken_over_with}, created_at = now(), lease_until = now()")
        async with asyncio.timeout(60):
            subscription = await on.core.refinements.follow(on.user, lease.thread_id, 0)
            while await subscription.step() is not None:
                pass
            subscription.close()
        proposal = await on.core.proposals.get(on.user, lease.proposal_id)
    assert verdict(proposal) == ("failed", reason, {})
    assert (on.script.jobs, on.script.connections) == ([], 0)


class SteadyRuntime(ScriptedRuntime):
    """Waits before each frame for a time that is shorter than the idle time. longest_s: what one of these
    waits took."""

    longest_s = 0.0

    async def stream(self, stream: Stream) -> None:
        await stream.accept()
        self.connections += 1
        now = asyncio.get_running_loop().time
        for frame in self.streams[0]:
            began = now()
            await asyncio.sleep(0.4)
            await stream.send(json.dumps(frame).encode())
            self.longest_s = max(self.longest_s, now() - began)


async def test_a_stream_is_not_silent_while_frames_come(hub: Opener) -> None:
    steady = [token_frame(letter) for letter in "abcdef"] + [files_frame(a="1"), END]
    for _ in range(5):
        async with hub(runtime := SteadyRuntime([steady]), run_idle_s=2.0) as on:
            proposal, events = await on.finished()
        # Otherwise this process had no turn for so long that the runtime itself was silent.
        if runtime.longest_s < 1:
            break
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    assert (runtime.connections, runtime.asked) == (1, 0)
    assert len(events) == 9


async def test_completed_without_files_is_doubted_then_failed(hub: Opener) -> None:
    lie = {"status": "completed", "generated_files": {}}
    async with hub(ScriptedRuntime([[token_frame("x"), CLOSE]], states=[lie])) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "empty_result", {})
    assert on.script.asked > 1


async def test_completed_without_files_is_no_proof_for_those_that_a_broken_stream_showed(
    hub: Opener,
) -> None:
    lie = {"status": "completed", "generated_files": {}}
    async with hub(ScriptedRuntime([[files_frame(a="1"), CLOSE]], states=[lie])) as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("failed", "upstream_lost", {"/a": "1"})
    assert any(isinstance(event.kind, Discontinuity) for event in events)


async def test_completed_too_early_is_corrected_when_files_appear(hub: Opener) -> None:
    lie = {"status": "completed", "generated_files": {}}
    truth = {"status": "completed", "generated_files": files(a="1")}
    script = ScriptedRuntime([[token_frame("x"), CLOSE]], states=[lie, lie, truth])
    async with hub(script, empty_result_grace_s=60) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})


async def test_a_pollers_summary_is_not_a_verdict(hub: Opener) -> None:
    progress = state_frame(messages="Execution in progress... (1.0s)", status="running")
    summary = state_frame(messages="Execution completed", files={}, result={"message": "Execution completed"})
    truth = {"status": "completed", "generated_files": files(a="1")}
    lie = {"status": "completed", "generated_files": {}}
    script = ScriptedRuntime([[progress, summary, END]], states=[lie, truth])
    async with hub(script, empty_result_grace_s=60) as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    # The progress is passed on, not journalled.
    assert len(events) == 4


async def test_a_poller_that_never_shows_files_fails_with_a_reason(hub: Opener) -> None:
    summary = state_frame(messages="Execution completed", files={}, result={"message": "x"})
    lie = {"status": "completed", "generated_files": {}}
    async with hub(ScriptedRuntime([[summary, END]], states=[lie])) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "empty_result", {})


async def test_a_run_that_the_runtime_forgot_is_failed(hub: Opener) -> None:
    async with hub(ScriptedRuntime([[files_frame(a="1"), CLOSE]], states=[None])) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "upstream_lost", {"/a": "1"})


async def test_failed_questions_do_not_delay_the_verdict_on_a_forgotten_run(hub: Opener) -> None:
    script = ScriptedRuntime([[files_frame(a="1"), CLOSE]], states=[None, 500] * 40)
    async with hub(script) as on:
        proposal, _ = await on.finished()
        limits = on.core.runner.context.limits
    assert verdict(proposal) == ("failed", "upstream_lost", {"/a": "1"})
    assert script.asked <= 2 * (limits.max_unknown_thread_answers + 1 + limits.max_fruitless_reconnects)


async def test_a_run_that_continues_is_read_again_after_a_discontinuity(hub: Opener) -> None:
    running = {"status": "running", "generated_files": None}
    script = ScriptedRuntime(
        [[token_frame("a"), CLOSE], [CLOSE], [token_frame("b"), files_frame(a="1"), END]], states=[running]
    )
    async with hub(script) as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "Discontinuity", "Token", "StateUpdate", "Terminal"]
    assert [event.epoch for event in events] == [1, 1, 2, 2, 2, 2]


async def test_a_full_replay_continues_without_a_discontinuity_and_without_repeats(hub: Opener) -> None:
    frames = [token_frame("a"), token_frame("a"), files_frame(a="1"), token_frame("b")]
    running = {"status": "running", "generated_files": None}
    script = ScriptedRuntime([[*frames[:2], CLOSE], [*frames[:3], CLOSE], [*frames, END]], states=[running])
    async with hub(script, runtime_profile="full") as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "Token", "StateUpdate", "Token", "Terminal"]
    assert {event.epoch for event in events} == {1}


async def test_a_full_replay_that_differs_has_one_discontinuity_and_nothing_is_lost(hub: Opener) -> None:
    running = {"status": "running", "generated_files": None}
    script = ScriptedRuntime(
        [
            [token_frame("a"), token_frame("b"), CLOSE],
            [token_frame("a"), token_frame("X"), files_frame(a="1"), END],
        ],
        states=[running],
    )
    async with hub(script, runtime_profile="full") as on:
        _, events = await on.finished()
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "Token", "Discontinuity", "Token", "StateUpdate", "Terminal"]
    assert [event.kind.text for event in events if isinstance(event.kind, Token)] == ["a", "b", "X"]


async def test_replays_that_break_early_are_tried_again_before_a_state_decides(hub: Opener) -> None:
    frames = [token_frame("a"), files_frame(a="1"), token_frame("b")]
    over = {"status": "completed", "generated_files": files(a="1")}
    broken = [*frames[:2], CLOSE]
    script = ScriptedRuntime([broken, broken, [frames[0], CLOSE], [*frames, END]], states=[over])
    async with hub(script, runtime_profile="full") as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "StateUpdate", "Token", "Terminal"]


async def test_replays_that_always_break_leave_the_verdict_to_the_state_after_a_discontinuity(
    hub: Opener,
) -> None:
    over = {"status": "completed", "generated_files": files(a="2")}
    script = ScriptedRuntime([[files_frame(a="1"), CLOSE]], states=[over])
    async with hub(script, runtime_profile="full") as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "2"})
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "StateUpdate", "Discontinuity", "StateUpdate", "Terminal"]
    assert script.connections == 4


async def test_a_replay_that_repeats_all_and_is_silent_has_nothing_more(hub: Opener) -> None:
    over = {"status": "completed", "generated_files": files(a="1")}
    script = ScriptedRuntime([[files_frame(a="1"), SILENCE]], states=[over])
    async with hub(script, runtime_profile="full", run_idle_s=0.3) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    assert script.connections == 2


def numbered(number: int, **data: Any) -> dict[str, Any]:
    frame = state_frame(**data) if data else token_frame(str(number))
    return {**frame, "id": number}


async def test_frames_with_ids_continue_wherever_the_connection_begins(hub: Opener) -> None:
    running = {"status": "running", "generated_files": None}
    frames = [numbered(1), numbered(2), numbered(3), numbered(4, files=files(a="1"))]
    script = ScriptedRuntime([[*frames[:3], CLOSE], [*frames[1:], END]], states=[running])
    async with hub(script, runtime_profile="ids") as on:
        proposal, events = await on.finished()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "Token", "Token", "StateUpdate", "Terminal"]


async def test_frames_with_ids_that_leave_a_gap_come_after_a_discontinuity(hub: Opener) -> None:
    running = {"status": "running", "generated_files": None}
    frames = [numbered(1), numbered(2), numbered(3), numbered(4, files=files(a="1"))]
    script = ScriptedRuntime([[*frames[:2], CLOSE], [frames[0], *frames[3:], END]], states=[running])
    async with hub(script, runtime_profile="ids") as on:
        _, events = await on.finished()
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "Token", "Discontinuity", "StateUpdate", "Terminal"]


async def test_frames_with_ids_are_asked_for_again_before_a_state_decides(hub: Opener) -> None:
    over = {"status": "completed", "generated_files": files(a="1")}
    frames = [numbered(1), numbered(2), numbered(3), numbered(4, files=files(a="1"))]
    script = ScriptedRuntime([[*frames[:2], CLOSE], [frames[1], CLOSE], [*frames[1:], END]], states=[over])
    async with hub(script, runtime_profile="ids") as on:
        _, events = await on.finished()
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Token", "Token", "Token", "StateUpdate", "Terminal"]


async def test_an_error_that_a_full_replay_repeats_is_still_an_error(hub: Opener) -> None:
    error = {"event_type": "error", "data": {"error": {"message": "it broke"}, "context": "execution_failed"}}
    frames = [files_frame(a="1"), error]
    running = {"status": "running", "generated_files": None}
    script = ScriptedRuntime([[*frames, CLOSE], [*frames, END]], states=[running])
    async with hub(script, runtime_profile="full") as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1"})
    assert proposal.failure is not None
    assert proposal.failure.message == "it broke"


async def test_a_run_taken_over_after_its_time_keeps_the_files_of_its_journal(
    hub: Opener, database: str, pool: Any
) -> None:
    script = ScriptedRuntime([[files_frame(a="1"), SILENCE]])
    async with hub(script) as on:
        started = await on.start()
        subscription = await on.core.refinements.follow(on.user, started.thread_id, 1)
        await subscription.step()
        subscription.close()
    await pool.execute("UPDATE runs SET created_at = now() - interval '1 hour'")
    async with serve_runtime(script) as url, driven(url, database, pool) as later:
        async with asyncio.timeout(60):
            while not (
                proposal := await later.core.proposals.get(on.user, started.proposal_id)
            ).status.terminal:
                await asyncio.sleep(0.02)
    assert verdict(proposal) == ("failed", "deadline_exceeded", {"/a": "1"})


async def test_a_run_over_its_time_is_failed_with_its_files(hub: Opener) -> None:
    script = ScriptedRuntime([[files_frame(a="1"), SILENCE]])
    async with hub(script, run_max_duration_s=3) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "deadline_exceeded", {"/a": "1"})


async def test_an_agent_that_asks_leaves_the_proposal_awaiting_input_until_it_is_cancelled(
    hub: Opener,
) -> None:
    asks = state_frame(files=files(a="1"), __interrupt__="[Interrupt(value='ok?')]")
    async with hub(ScriptedRuntime([[asks, END]]), run_idle_s=0.2) as on:
        started = await on.start()
        async with asyncio.timeout(60):
            while True:
                proposal = await on.core.proposals.get(on.user, started.proposal_id)
                if proposal.status is ProposalStatus.AWAITING_INPUT:
                    break
                await asyncio.sleep(0.01)
        await on.core.refinements.cancel(on.user, started.thread_id)
        proposal, events = await on.outcome(started)
    assert verdict(proposal) == ("cancelled", "cancelled", {"/a": "1"})
    assert sum(isinstance(event.kind, InputRequested) for event in events) == 1


async def test_an_agent_that_asks_and_gets_no_answer_in_time_is_failed(hub: Opener) -> None:
    asks = state_frame(files=files(a="1"), __interrupt__="[Interrupt(value='ok?')]")
    async with hub(ScriptedRuntime([[asks, END]]), run_max_duration_s=3) as on:
        proposal, _ = await on.finished()
    assert verdict(proposal) == ("failed", "input_not_given", {"/a": "1"})


async def test_cancelling_stops_the_run_and_keeps_its_files(hub: Opener) -> None:
    async with hub(ScriptedRuntime([[files_frame(a="1"), SILENCE]])) as on:
        started = await on.start()
        subscription = await on.core.refinements.follow(on.user, started.thread_id, 1)
        await subscription.step()
        subscription.close()
        # Its answer does not wait long for the end.
        await on.core.refinements.cancel(on.user, started.thread_id)
        proposal, _ = await on.outcome(started)
        await until(lambda: on.core.runner.live == 0)
    assert verdict(proposal) == ("cancelled", "cancelled", {"/a": "1"})


# --- Invoker ------------------------------------------------------------------------------------


async def test_the_job_has_the_prompt_at_both_places_where_runtimes_read_it(hub: Opener) -> None:
    async with hub(ScriptedRuntime([[END]])) as on:
        command = StartRefinement(on.workflow_id, "do it", "/THE_CAST/a.md", "lines 1-2")
        started = (await on.core.refinements.start(on.user, command)).refinement
    job = on.script.jobs[0]
    assert job["job_id"] == str(started.thread_id)
    assert job["input_payload"]["messages"] == [{"role": "user", "content": "do it"}]
    assert job["agent_definition"]["user_request"] == "do it"
    assert job["input_payload"]["context_file_path"] == "/THE_CAST/a.md"
    UUID(job["trace_id"])


async def a_drafted_workflow(on: ScriptedHub, **texts: str) -> UUID:
    """A workflow of the hub's user whose draft has the files."""
    named = {f"/{name}": text for name, text in texts.items()}
    return (await on.core.workflows.create(on.user, CreateWorkflow("w", DEFAULT_DEFINITION, named))).id


@pytest.mark.parametrize("job_context", ["files", "prompt", "both"])
async def test_a_job_brings_the_draft_as_the_setting_says(hub: Opener, job_context: str) -> None:
    async with hub(ScriptedRuntime([[END]]), job_context=job_context) as on:
        workflow = await a_drafted_workflow(on, a="one\ntwo\n", b="x")
        command = StartRefinement(workflow, "do it", "/a", "line 2")
        started = (await on.core.refinements.start(on.user, command)).refinement
        proposal, _ = await on.outcome(started)
        stored = await on.core.pool.fetchval("SELECT invocation ->> 'input_payload' FROM runs")
    job = on.script.jobs[0]
    prompt = job["agent_definition"]["user_request"]
    assert job["input_payload"]["messages"] == [{"role": "user", "content": prompt}]
    if job_context == "files":
        assert prompt == "do it"
    else:
        assert prompt.startswith("do it\n\n")
        assert "line 2 of the file `/a`:\n\n```\ntwo\n```" in prompt
    if job_context == "prompt":
        assert "files" not in job["input_payload"]
    else:
        assert {path: file["content"] for path, file in job["input_payload"]["files"].items()} == {
            "/a": ["one", "two", ""],
            "/b": ["x"],
        }
    # One copy of each content: the stored job names the version.
    assert "files" not in json.loads(stored)
    assert (proposal.user_prompt, proposal.base_version) == ("do it", 1)


async def test_lines_that_the_file_does_not_have_start_nothing(hub: Opener) -> None:
    async with hub(ScriptedRuntime([[END]])) as on:
        workflow = await a_drafted_workflow(on, a="one\ntwo\n")
        with pytest.raises(Unprocessable):
            await on.core.refinements.start(on.user, StartRefinement(workflow, "x", "/a", "lines 2-3"))
        assert (await on.core.proposals.list(on.user, limit=5)).items == ()
        for path in (None, "/new.md"):
            await on.core.refinements.start(on.user, StartRefinement(workflow, "x", path, "lines 2-3"))


@pytest.mark.parametrize("state", ["locked", "archived"])
async def test_a_locked_or_archived_workflow_is_not_refined(hub: Opener, pool: Any, state: str) -> None:
    async with hub(ScriptedRuntime([[END]])) as on:
        await pool.execute(f"UPDATE workflows SET {state}_at = now()")
        with pytest.raises(Conflict):
            await on.start()
        assert on.script.jobs == []


async def test_a_run_starts_from_the_newest_version_of_the_draft_and_keeps_it(hub: Opener) -> None:
    async with hub(ScriptedRuntime([[END]])) as on:
        workflow = await a_drafted_workflow(on, a="1")
        draft = (await on.core.workflows.get(on.user, workflow))[0].current_draft_id
        for text in ("2", "3"):
            command = UpdateDraft({"/a": text})
            any_state = IfMatch(any_state=True)
            await on.core.drafts.update(on.user, draft, command, if_match=any_state)
        started = (await on.core.refinements.start(on.user, StartRefinement(workflow, "x"))).refinement
        proposal, _ = await on.outcome(started)
    assert on.script.jobs[0]["input_payload"]["files"]["/a"]["content"] == ["3"]
    assert proposal.base_version == 3


async def test_a_start_reads_none_of_the_drafts_files_that_it_is_not_about(hub: Opener, pool: Any) -> None:
    """A draft may have 64 MiB, and many may be started at once."""
    async with hub(ScriptedRuntime([[END]]), job_context="prompt") as on:
        workflow = await a_drafted_workflow(on, a="1", b="2")
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE contents IN ACCESS EXCLUSIVE MODE")
            started = (await on.core.refinements.start(on.user, StartRefinement(workflow, "x"))).refinement
        await on.outcome(started)
    assert on.script.jobs[0]["input_payload"]["messages"][0]["content"] == "x"


async def test_a_run_that_shows_the_files_that_it_was_given_works_on_them(hub: Opener) -> None:
    stream = [files_frame(a="1", b="2"), token_frame("x"), files_frame(a="1", c="3"), END]
    async with hub(ScriptedRuntime([stream])) as on:
        workflow = await a_drafted_workflow(on, a="1", b="2")
        started = (await on.core.refinements.start(on.user, StartRefinement(workflow, "x"))).refinement
        proposal, _ = await on.outcome(started)
    assert proposal.includes_base
    assert set(proposal.files) == {"/a", "/c"}


async def test_a_run_whose_runtime_takes_no_files_deletes_none(hub: Opener) -> None:
    stream = [token_frame("x"), files_frame(a="1"), files_frame(a="other"), END]
    async with hub(ScriptedRuntime([stream])) as on:
        workflow = await a_drafted_workflow(on, a="1", b="2")
        started = (await on.core.refinements.start(on.user, StartRefinement(workflow, "x"))).refinement
        proposal, _ = await on.outcome(started)
    assert not proposal.includes_base
    assert set(proposal.files) == {"/a"}


@pytest.mark.parametrize("status", [400, 422, 500, 503])
async def test_a_refused_job_is_an_error_for_the_starter_and_a_failed_proposal(
    hub: Opener, pool: Any, status: int
) -> None:
    async with hub(ScriptedRuntime([[END]], invokes=[status])) as on:
        with pytest.raises(RuntimeRefused) as refused:
            await on.start()
        page = await on.core.proposals.list(on.user, limit=5)
        assert await pool.fetchval("SELECT count(*) FROM runs WHERE status = 'failed'") == 1
    assert [(p.status.value, p.failure.reason) for p in page.items] == [("failed", "runtime_refused")]
    assert str(page.items[0].id) in str(refused.value)
    assert len(on.script.jobs) == 1


async def test_a_runtime_that_is_down_is_an_error_for_the_starter_and_no_proposal_stays_processing(
    hub: Opener, database: str
) -> None:
    async with (
        hub(ScriptedRuntime([[END]])) as on,
        open_core(load(env="dev"), dsn=database, runtime_url="http://127.0.0.1:9", verifier=VERIFIER) as away,
    ):
        with pytest.raises(RuntimeUnavailable):
            await away.refinements.start(on.user, StartRefinement(on.workflow_id, "x"))
        page = await on.core.proposals.list(on.user, limit=5)
    assert [(p.status.value, p.failure.reason) for p in page.items] == [("failed", "runtime_unavailable")]
