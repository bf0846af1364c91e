"""Refinements of one draft at the same time: side by side, refused, queued, or one instead of the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest

from server.db.busy_drafts import find_others
from server.domain.drafts.busy import WhenBusy
from server.domain.drafts.changes import UpdateDraft
from server.domain.errors import DatabaseUnavailable, DraftBusy, LimitReached, PermissionDenied
from server.domain.etags import IfMatch
from server.domain.idempotent_start import Started
from server.domain.journal.events import RunStarted, Terminal
from server.domain.model import (
    CreateWorkflow,
    Failure,
    Principal,
    ProposalStatus,
    Refinement,
    StartRefinement,
    UpdateWorkflow,
)
from server.wire.agent_definition import DEFAULT_DEFINITION
from tests.support.client import WAYS, events
from tests.support.driven import Driven, driven
from tests.support.hand_clock import retried, until
from tests.support.hub import running_hub, start
from tests.support.runtime import END, Answer, Runtime, Stream, files, serve_runtime, state_frame
from tests.support.stored import a_run, a_user, a_workflow


@dataclass
class Gated(Runtime):
    """Runs each job until the test ends it, and gives it a file.

    jobs: the prompts that came, in order. given: the files that came with them.
    """

    jobs: list[str] = field(default_factory=list)
    given: list[dict[str, Any]] = field(default_factory=list)
    refuses: bool = False
    _gates: dict[str, asyncio.Event] = field(default_factory=dict)
    _prompts: dict[str, str] = field(default_factory=dict)

    def end_run(self, prompt: str) -> None:
        """End the run of this prompt, once it is there."""
        self._gate(prompt).set()

    def _gate(self, prompt: str) -> asyncio.Event:
        return self._gates.setdefault(prompt, asyncio.Event())

    async def invoke(self, job: dict[str, Any]) -> Answer:
        prompt = job["input_payload"]["messages"][0]["content"]
        self.jobs.append(prompt)
        self.given.append(job["input_payload"].get("files", {}))
        if self.refuses:
            return 500, {"detail": "no"}
        self._prompts[job["job_id"]] = prompt
        return await super().invoke(job)

    async def state(self, thread_id: str) -> Answer:
        if thread_id not in self._prompts:
            return 404, {"detail": "unknown"}
        return 200, {"status": "running", "generated_files": None}

    async def stream(self, stream: Stream) -> None:
        await stream.accept()
        prompt = self._prompts[stream.thread_id]
        await self._gate(prompt).wait()
        for frame in (state_frame(files=files(a=prompt)), END):
            await stream.send(json.dumps(frame).encode())


@dataclass
class Rig:
    """Two replicas on a runtime whose runs the test ends."""

    runtime: Gated
    one: Driven
    two: Driven

    @property
    def user(self) -> Principal:
        return self.one.user

    async def start(
        self,
        prompt: str,
        when_busy: WhenBusy | None = None,
        *,
        on: Driven | None = None,
        key: str | None = None,
    ) -> Started:
        """A start in the one workflow."""
        command = StartRefinement(self.one.workflow_id, prompt, when_busy=when_busy)
        return await (on or self.one).core.refinements.start(self.user, command, key=key)

    async def now(self, started: Started) -> Refinement:
        """The state of a refinement."""
        return await self.one.core.refinements.get(self.user, started.refinement.thread_id)

    async def comes_to(self, started: Started, status: ProposalStatus) -> Refinement:
        """Wait until a refinement is in this status."""
        while (refinement := await self.now(started)).status is not status:
            assert not refinement.status.terminal, refinement
            await asyncio.sleep(0.02)
        return refinement

    async def statuses(self, *started: Started) -> list[str]:
        """The statuses of refinements."""
        return [(await self.now(each)).status.value for each in started]


@pytest.fixture
def rig(database: str, pool: Any) -> Any:
    @asynccontextmanager
    async def opened(**settings: Any) -> AsyncIterator[Rig]:
        runtime = Gated()
        async with (
            serve_runtime(runtime) as url,
            driven(url, database, pool, replica="one", **settings) as one,
            driven(url, database, pool, replica="two", **settings) as two,
            asyncio.timeout(40),
        ):
            yield Rig(runtime, one, replace(two, user=one.user, workflow_id=one.workflow_id))

    return opened


async def test_a_start_that_does_not_say_begins_beside_the_others(rig: Any) -> None:
    async with rig() as on:
        started = [await on.start("a"), await on.start("b"), await on.start("c", WhenBusy.PARALLEL)]
        assert await on.statuses(*started) == ["processing"] * 3


async def test_the_setting_decides_for_a_start_that_does_not_say(rig: Any) -> None:
    async with rig(when_busy="refuse") as on:
        first = await on.start("a")
        with pytest.raises(DraftBusy) as refused:
            await on.start("b")
        beside = await on.start("c", WhenBusy.PARALLEL)
        assert str(first.refinement.proposal_id) in refused.value.message
        assert await on.statuses(first, beside) == ["processing"] * 2


async def test_a_busy_draft_refuses_and_stores_nothing_and_a_free_one_starts(rig: Any, pool: Any) -> None:
    async with rig() as on:
        first = await on.start("a", WhenBusy.REFUSE)
        with pytest.raises(DraftBusy):
            await on.start("b", WhenBusy.REFUSE, on=on.two, key="k")
        assert await pool.fetchval("SELECT count(*) FROM proposals") == 1
        on.runtime.end_run("a")
        await on.comes_to(first, ProposalStatus.COMPLETED)
        again = await on.start("b", WhenBusy.REFUSE, on=on.two, key="k")
        assert (again.refinement.status, again.replayed) == (ProposalStatus.PROCESSING, False)


async def test_of_twenty_starts_at_the_same_time_that_refuse_one_begins(rig: Any, pool: Any) -> None:
    # With a limit of active runs, the starts of one caller come one at a time anyway.
    async with rig(max_active_runs=0) as on:
        starts = (
            partial(on.start, f"{number}", WhenBusy.REFUSE, on=(on.one, on.two)[number % 2], key=f"{number}")
            for number in range(20)
        )
        # On a busy machine some wait too long for a connection, and are made again.
        results = await asyncio.gather(
            *(retried(start, DatabaseUnavailable) for start in starts), return_exceptions=True
        )
        assert sum(isinstance(result, Started) for result in results) == 1
        assert sum(isinstance(result, DraftBusy) for result in results) == 19
        assert await pool.fetchval("SELECT count(*) FROM runs") == 1


async def test_queued_runs_begin_one_after_the_other_in_the_order_of_their_starts(rig: Any) -> None:
    async with rig() as on:
        prompts = ["a", "b", "c", "d"]
        started = [
            await on.start(prompt, WhenBusy.ENQUEUE, on=(on.one, on.two)[number % 2])
            for number, prompt in enumerate(prompts)
        ]
        assert await on.statuses(*started) == ["processing", "queued", "queued", "queued"]
        waits = [(await on.now(each)).waits_for_proposal_id for each in started]
        assert waits == [None, *(each.refinement.proposal_id for each in started[:-1])]
        for number, prompt in enumerate(prompts):
            await on.comes_to(started[number], ProposalStatus.PROCESSING)
            await until(lambda begun=prompts[: number + 1]: on.runtime.jobs == begun)
            on.runtime.end_run(prompt)
            await on.comes_to(started[number], ProposalStatus.COMPLETED)
        for each, prompt in zip(started, prompts, strict=True):
            proposal, happened = await on.two.outcome(each.refinement)
            assert proposal.files["/a"].text == prompt
            assert proposal.waits_for_proposal_id is None
            assert [event.seq for event in happened] == list(range(1, len(happened) + 1))
            assert isinstance(happened[0].kind, RunStarted)
            assert happened[0].kind.proposal_id == each.refinement.proposal_id


async def test_the_list_says_which_waits_for_which(rig: Any) -> None:
    async with rig() as on:
        started = [await on.start(prompt, WhenBusy.ENQUEUE) for prompt in "abc"]
        page = await on.two.core.proposals.list(on.user, limit=10)
        waits = {proposal.id: proposal.waits_for_proposal_id for proposal in page.items}
        first, second, third = (each.refinement.proposal_id for each in started)
        assert waits == {first: None, second: first, third: second}


async def test_a_run_that_is_enqueued_waits_for_all_that_run_beside_each_other(rig: Any) -> None:
    async with rig() as on:
        beside = [await on.start("a"), await on.start("b")]
        queued = await on.start("c", WhenBusy.ENQUEUE)
        assert (await on.now(queued)).waits_for_proposal_id == beside[1].refinement.proposal_id
        on.runtime.end_run("b")
        await on.comes_to(beside[1], ProposalStatus.COMPLETED)
        await on.two.core.runner.sweep()
        assert (await on.now(queued)).waits_for_proposal_id == beside[0].refinement.proposal_id
        on.runtime.end_run("a")
        await on.comes_to(queued, ProposalStatus.PROCESSING)


async def test_a_queued_run_begins_as_soon_as_the_one_before_it_is_over(rig: Any) -> None:
    # No sweep comes by itself: the end of the run says that another one waits.
    async with rig(limits={"sweep_s": 3600.0}) as on:
        first, second = await on.start("a"), await on.start("b", WhenBusy.ENQUEUE)
        on.runtime.end_run("a")
        await on.comes_to(second, ProposalStatus.PROCESSING)
        assert (await on.now(first)).status is ProposalStatus.COMPLETED


@pytest.mark.parametrize("texts", [{"/b": "old"}, {}])
async def test_a_queued_run_begins_from_what_was_accepted_while_it_waited(
    rig: Any, texts: dict[str, str]
) -> None:
    async with rig() as on:
        core = on.one.core
        made = await core.workflows.create(on.user, CreateWorkflow("w2", DEFAULT_DEFINITION, texts))
        on.one.workflow_id = made.id
        first, second = await on.start("a"), await on.start("b", WhenBusy.ENQUEUE)
        edit = UpdateDraft({"/b": "new"}, ())
        await core.drafts.update(on.user, made.current_draft_id, edit, if_match=IfMatch(any_state=True))
        on.runtime.end_run("a")
        await on.comes_to(second, ProposalStatus.PROCESSING)
        on.runtime.end_run("b")
        await on.comes_to(second, ProposalStatus.COMPLETED)
        bases = [
            (await core.proposals.get(on.user, each.refinement.proposal_id)).base_version
            for each in (first, second)
        ]
        assert bases == [1, 2]
        given = [{path: file["content"] for path, file in job.items()} for job in on.runtime.given]
        assert given == [{path: [text] for path, text in texts.items()}, {"/b": ["new"]}]


@pytest.mark.parametrize("when_busy", [WhenBusy.REFUSE, WhenBusy.ENQUEUE])
async def test_a_draft_is_busy_while_a_run_is_queued(rig: Any, when_busy: WhenBusy) -> None:
    async with rig() as on:
        await on.start("a")
        queued = await on.start("b", WhenBusy.ENQUEUE)
        if when_busy is WhenBusy.REFUSE:
            with pytest.raises(DraftBusy):
                await on.start("c", when_busy)
        else:
            third = await on.start("c", when_busy)
            assert (await on.now(third)).waits_for_proposal_id == queued.refinement.proposal_id


async def test_twenty_sweeps_of_two_replicas_begin_a_queued_run_once(rig: Any, pool: Any) -> None:
    async with rig(limits={"sweep_s": 3600.0}) as on:
        await on.start("a")
        queued = [await on.start(prompt, WhenBusy.ENQUEUE) for prompt in "bc"]
        on.runtime.end_run("a")
        sweeps = [core.runner.sweep for core in (on.one.core, on.two.core) for _ in range(10)]
        await asyncio.gather(*(retried(sweep, DatabaseUnavailable) for sweep in sweeps))
        await on.comes_to(queued[0], ProposalStatus.PROCESSING)
        await asyncio.gather(on.one.core.runner.sweep(), on.two.core.runner.sweep())
        await until(lambda: len(on.runtime.jobs) > 1)
        assert on.runtime.jobs == ["a", "b"]
        assert await on.statuses(*queued) == ["processing", "queued"]
        assert await pool.fetchval("SELECT count(*) FROM events WHERE first_seq = 1 AND last_seq >= 1") == 2


async def test_a_queued_run_that_is_cancelled_never_begins_and_the_next_one_does(rig: Any) -> None:
    async with rig() as on:
        first = await on.start("a")
        second, third = await on.start("b", WhenBusy.ENQUEUE), await on.start("c", WhenBusy.ENQUEUE)
        # The answer does not wait long for the end of the run, and says what is true by then.
        await on.two.core.refinements.cancel(on.user, second.refinement.thread_id)
        await on.comes_to(second, ProposalStatus.CANCELLED)
        assert (await on.now(third)).waits_for_proposal_id == first.refinement.proposal_id
        proposal, happened = await on.one.outcome(second.refinement)
        assert [type(event.kind) for event in happened] == [RunStarted, Terminal]
        assert proposal.failure is not None
        assert proposal.failure.reason == "cancelled"
        on.runtime.end_run("a")
        await on.comes_to(third, ProposalStatus.PROCESSING)
        await until(lambda: on.runtime.jobs == ["a", "c"])


@pytest.mark.parametrize("state", ["locked", "archived"])
async def test_a_queued_run_whose_workflow_is_locked_or_archived_at_its_turn_is_cancelled(
    rig: Any, state: str
) -> None:
    async with rig() as on:
        workflows = on.one.core.workflows
        first = await on.start("a")
        second, third = await on.start("b", WhenBusy.ENQUEUE), await on.start("c", WhenBusy.ENQUEUE)
        await workflows.update(on.user, on.one.workflow_id, UpdateWorkflow(**{state: True}))
        assert await on.statuses(first, second, third) == ["processing", "queued", "queued"]
        on.runtime.end_run("a")
        await on.comes_to(first, ProposalStatus.COMPLETED)
        for each in (second, third):
            proposal, happened = await on.two.outcome(each.refinement)
            assert proposal.status is ProposalStatus.CANCELLED
            assert proposal.failure == Failure("cancelled", f"the workflow was {state} before the run began")
            assert [type(event.kind) for event in happened] == [RunStarted, Terminal]
        assert on.runtime.jobs == ["a"]


async def test_a_queued_run_begins_if_its_workflow_is_unlocked_before_its_turn(rig: Any) -> None:
    async with rig() as on:
        workflows = on.one.core.workflows
        await on.start("a")
        queued = await on.start("b", WhenBusy.ENQUEUE)
        for locked in (True, False):
            await workflows.update(on.user, on.one.workflow_id, UpdateWorkflow(locked=locked))
        on.runtime.end_run("a")
        await on.comes_to(queued, ProposalStatus.PROCESSING)


async def test_a_superseding_run_begins_and_all_others_of_the_draft_are_cancelled(rig: Any) -> None:
    # The other replica sees the cancellation when it next renews its leases.
    async with rig(limits={"renew_s": 0.2}) as on:
        others = [
            await on.start("a"),
            await on.start("b", on=on.two),
            await on.start("c", WhenBusy.ENQUEUE),
            await on.start("d", WhenBusy.ENQUEUE, on=on.two),
        ]
        new = await on.start("e", WhenBusy.SUPERSEDE)
        assert new.refinement.status is ProposalStatus.PROCESSING
        for each in others:
            await on.comes_to(each, ProposalStatus.CANCELLED)
        assert on.runtime.jobs == ["a", "b", "e"]
        on.runtime.end_run("e")
        await on.comes_to(new, ProposalStatus.COMPLETED)


@pytest.mark.parametrize("access_type", [None, "viewer", "editor"])
async def test_a_refusal_names_what_the_caller_may_see_and_only_editors_supersede(
    pool: Any, access_type: str | None
) -> None:
    ann, bob = await a_user(pool), await a_user(pool, "bob")
    workflow = await a_workflow(pool, ann)
    lease = await a_run(pool, ann, workflow)
    if access_type is not None:
        await pool.execute(
            "INSERT INTO proposal_access (proposal_id, user_id, access_type) VALUES ($1, $2, $3)",
            lease.proposal_id,
            bob.user_id,
            access_type,
        )
    with pytest.raises(DraftBusy) as refused:
        await find_others(pool, bob, workflow.current_draft_id, WhenBusy.REFUSE)
    assert (str(lease.proposal_id) in refused.value.message) == (access_type is not None)
    if access_type == "editor":
        superseded = await find_others(pool, bob, workflow.current_draft_id, WhenBusy.SUPERSEDE)
        assert superseded == [lease.thread_id]
    else:
        with pytest.raises(PermissionDenied):
            await find_others(pool, bob, workflow.current_draft_id, WhenBusy.SUPERSEDE)


async def test_a_free_draft_has_nothing_to_supersede_or_to_wait_for(rig: Any) -> None:
    async with rig() as on:
        for prompt, when_busy in (("a", WhenBusy.SUPERSEDE), ("b", WhenBusy.ENQUEUE)):
            started = await on.start(prompt, when_busy)
            assert started.refinement.status is ProposalStatus.PROCESSING
            on.runtime.end_run(prompt)
            await on.comes_to(started, ProposalStatus.COMPLETED)


async def test_drafts_of_other_workflows_are_not_busy(rig: Any) -> None:
    async with rig() as on:
        await on.start("a")
        other = await on.one.core.workflows.create(on.user, CreateWorkflow("other", DEFAULT_DEFINITION, {}))
        command = StartRefinement(other.id, "b", when_busy=WhenBusy.REFUSE)
        started = await on.one.core.refinements.start(on.user, command)
        assert started.refinement.status is ProposalStatus.PROCESSING


@pytest.mark.parametrize("when_busy", list(WhenBusy))
async def test_a_repeated_start_gets_the_first_answer_and_changes_nothing(
    rig: Any, pool: Any, when_busy: WhenBusy
) -> None:
    async with rig() as on:
        if when_busy is not WhenBusy.REFUSE:
            await on.start("before")
        first = await on.start("a", when_busy, key="k")
        again = await asyncio.gather(
            *(on.start("a", when_busy, on=replica, key="k") for replica in (on.one, on.two))
        )
        assert all(each.replayed for each in again)
        assert {each.refinement for each in again} == {first.refinement}
        for prompt in ("before", "a"):
            on.runtime.end_run(prompt)
        await on.comes_to(first, ProposalStatus.COMPLETED)
        assert (await on.start("a", when_busy, key="k")).refinement == first.refinement
        assert await pool.fetchval("SELECT count(*) FROM runs") == 1 + (when_busy is not WhenBusy.REFUSE)


async def test_a_queued_run_that_the_runtime_refuses_keeps_its_key(rig: Any) -> None:
    async with rig() as on:
        await on.start("a")
        queued = await on.start("b", WhenBusy.ENQUEUE, key="k")
        on.runtime.refuses = True
        on.runtime.end_run("a")
        await on.comes_to(queued, ProposalStatus.FAILED)
        again = await on.start("b", WhenBusy.ENQUEUE, key="k")
        assert (again.replayed, again.refinement) == (True, queued.refinement)


async def test_a_queued_run_counts_as_one_of_its_callers_active_runs(rig: Any) -> None:
    async with rig(max_active_runs=2) as on:
        await on.start("a")
        await on.start("b", WhenBusy.ENQUEUE)
        with pytest.raises(LimitReached):
            await on.start("c", WhenBusy.ENQUEUE)


async def test_a_queued_run_survives_the_end_of_the_replicas_and_its_time_counts_from_its_beginning(
    rig: Any, pool: Any
) -> None:
    async with rig() as on:
        first, second = await on.start("a"), await on.start("b", WhenBusy.ENQUEUE)
        await pool.execute("UPDATE runs SET created_at = now() - interval '1 day' WHERE status = 'queued'")
        await on.one.core.runner.close()
        on.runtime.end_run("a")
        await on.comes_to(second, ProposalStatus.PROCESSING)
        on.runtime.end_run("b")
        proposal, _ = await on.two.outcome(second.refinement)
        assert (proposal.status, on.runtime.jobs) == (ProposalStatus.COMPLETED, ["a", "b"])
        assert (await on.two.core.refinements.get(on.user, first.refinement.thread_id)).status.terminal


async def test_followers_of_a_queued_run_wait_and_get_its_events_on_every_way(database: str) -> None:
    runtime = Gated()
    async with (
        serve_runtime(runtime) as url,
        running_hub(database, runtime_url=url) as hub,
        hub.client() as client,
        asyncio.timeout(40),
    ):
        workflow = str((await client.call("POST", "/api/workflows", {"name": "demo"}))["id"])
        await start(client, "a", workflow)
        body = {"user_prompt": "b", "when_busy": "enqueue"}
        queued = await client.call("POST", f"/api/workflows/{workflow}/refinements", body)
        assert queued["status"] == "queued"
        thread_id = str(queued["thread_id"])
        page = await client.call("GET", f"/api/refinements/{thread_id}/events")
        assert (page["items"], page["complete"]) == ([], False)
        files = await client.call("GET", f"/api/refinements/{thread_id}/files")
        assert files == {"items": [], "next_cursor": None, "seq": 0}

        async def watch(name: str) -> list[Any]:
            return [event async for event in events(name, hub, hub.token(), thread_id, 0)]

        watching = [asyncio.create_task(watch(name)) for name in WAYS]
        await until(lambda: hub.core.broadcaster.readers >= len(WAYS))
        for prompt in "ab":
            runtime.end_run(prompt)
        histories = dict(zip(WAYS, await asyncio.gather(*watching), strict=True))
        typed = {name: history for name, history in histories.items() if name != "ws-legacy"}
        assert all([event["seq"] for event in history] == [1, 2, 3] for history in typed.values()), typed
        assert all(history == typed["rest"] for history in typed.values())
        assert histories["ws-legacy"][-1]["event_type"] == "end"
