"""Replies to the questions of agents: the run goes on under the same thread, once, whatever dies
meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from server.domain.access.sharing import AccessType
from server.domain.errors import (
    Conflict,
    InputClosed,
    InvalidArgument,
    KeyReused,
    NotFound,
    PermissionDenied,
    ReplyUnsupported,
    Unprocessable,
)
from server.domain.etags import IfMatch
from server.domain.journal.events import Discontinuity, Event, InputAnswered, InputRequested
from server.domain.model import ProposalStatus, Refinement
from server.domain.runs.replies import ActionDecision
from tests.support.driven import Driven, driven, verdict
from tests.support.hand_clock import until
from tests.support.runtime import (
    END,
    SILENCE,
    Answer,
    Disconnect,
    Runtime,
    Stream,
    files,
    files_frame,
    serve_runtime,
    state_frame,
    token_frame,
)
from tests.support.stored import a_user

APPROVE, REJECT = ActionDecision("approve"), ActionDecision("reject", message="Not this one.")
SECRET = "a secret that nobody else is to read"


def asks(interrupt_id: str, *tools: str, **made: str) -> dict[str, Any]:
    """A state whose agent asks whether it may call these tools."""
    value = {
        "action_requests": [{"name": tool, "args": {"path": "/x"}, "description": ""} for tool in tools],
        "review_configs": [
            {"action_name": tool, "allowed_decisions": ["approve", "edit", "reject"]} for tool in tools
        ],
    }
    return state_frame(
        files=files(**made), __interrupt__=f"(Interrupt(value={value!r}, id={interrupt_id!r}),)"
    )


@dataclass
class AskingRuntime(Runtime):
    """A runtime whose runs have several parts, of which each but the first begins with a reply.

    parts: the frames of each. answers: the status of each POST of a reply; 0: none, although the run goes on;
    200 after the last.
    """

    parts: Sequence[Sequence[Any]]
    answers: list[int] = field(default_factory=list)
    replies: list[dict[str, Any]] = field(default_factory=list)
    #: The ids of the replies that the run went on with.
    resumed: list[str] = field(default_factory=list)

    async def resume(self, reply: dict[str, Any]) -> Answer:
        self.replies.append(reply)
        status = self.answers.pop(0) if self.answers else 200
        if status in (0, 200) and reply["resume_id"] not in self.resumed:
            self.resumed.append(reply["resume_id"])
        if not status:
            raise Disconnect
        return status, {"thread_id": reply["thread_id"], "status": "started", "detail": "it is refused"}

    async def state(self, thread_id: str) -> Answer:
        return 200, {"status": "completed", "generated_files": {}}

    async def stream(self, stream: Stream) -> None:
        await stream.accept()
        for frame in self.parts[len(self.resumed)]:
            if frame == SILENCE:
                await stream.silence()
            await stream.send(json.dumps(frame).encode())


Opener = Callable[..., Any]


@pytest.fixture
def hub(database: str, pool: Any) -> Opener:
    @asynccontextmanager
    async def opened(runtime: AskingRuntime, **settings: Any) -> AsyncIterator[Driven]:
        chosen: dict[str, Any] = {"runtime_can_resume": True, "runtime_profile": "full", "run_idle_s": 30.0}
        async with serve_runtime(runtime) as url, driven(url, database, pool, **chosen | settings) as on:
            yield on

    return opened


async def question(on: Driven, started: Refinement, number: int = 1) -> int:
    """The seq of a question of the run, once it waits for the answer."""
    await on.waiting(started)
    asked: list[int] = []
    page = await on.core.refinements.page(on.user, started.thread_id, after=0, limit=100, wait_s=0)
    for segment in page.segments:
        events = map(on.core.runner.context.codec.decode, segment.events())
        asked += [event.seq for event in events if isinstance(event.kind, InputRequested)]
    return asked[number - 1]


async def reply(
    on: Driven, started: Refinement, seq: int, *decisions: ActionDecision, key: str | None = None
) -> Any:
    return await on.core.input_replies.reply(on.user, started.thread_id, seq, decisions, key=key)


def kinds(events: Sequence[Event]) -> list[str]:
    return [type(event.kind).__name__ for event in events]


def two_parts() -> AskingRuntime:
    return AskingRuntime(
        [
            [files_frame(a="1"), asks("i1", "write_file", a="1"), END],
            [token_frame("Thanks."), files_frame(a="1", b="2"), END],
        ]
    )


async def test_a_run_goes_on_with_a_reply_under_the_same_thread_and_completes(hub: Opener) -> None:
    runtime = two_parts()
    async with hub(runtime) as on:
        started = await on.start()
        seq = await question(on, started)
        replied = await reply(on, started, seq, APPROVE)
        proposal, events = await on.outcome(started)
    assert replied.refinement.status is ProposalStatus.PROCESSING
    assert verdict(proposal) == ("completed", None, {"/a": "1", "/b": "2"})
    assert kinds(events) == [
        *("RunStarted", "StateUpdate", "StateUpdate", "InputRequested"),
        *("InputAnswered", "Token", "StateUpdate", "Terminal"),
    ]
    assert [event.seq for event in events] == list(range(1, 9))
    assert {event.epoch for event in events} == {1}
    assert events[4].kind == InputAnswered(seq, "i1", on.user.user_id, ("approve",))
    [given] = runtime.replies
    assert given == {
        "thread_id": str(started.thread_id),
        "resume_id": given["resume_id"],
        "interrupt_id": "i1",
        "resume": {"decisions": [{"type": "approve"}]},
    }


async def test_an_agent_that_asks_again_gets_a_reply_to_each_question(hub: Opener) -> None:
    runtime = AskingRuntime(
        [
            [asks("i1", "write_file"), END],
            # The same request, word for word: it is asked again all the same.
            [asks("i1", "write_file"), END],
            [files_frame(a="1"), END],
        ]
    )
    async with hub(runtime) as on:
        started = await on.start()
        first = await question(on, started)
        await reply(on, started, first, REJECT)
        second = await question(on, started, 2)
        with pytest.raises(InputClosed):
            await reply(on, started, first, APPROVE)
        await reply(on, started, second, APPROVE)
        proposal, events = await on.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    answered = [event.kind for event in events if isinstance(event.kind, InputAnswered)]
    assert [(each.seq, each.decisions) for each in answered] == [(first, ("reject",)), (second, ("approve",))]
    assert [each["resume"] for each in runtime.replies] == [
        {"decisions": [{"type": "reject", "message": "Not this one."}]},
        {"decisions": [{"type": "approve"}]},
    ]


async def test_the_journal_has_what_was_decided_and_not_what_was_written(hub: Opener, pool: Any) -> None:
    runtime = AskingRuntime([[asks("i1", "write_file", "delete_file"), END], [files_frame(a="1"), END]])
    edit = ActionDecision("edit", edited_arguments=json.dumps({"path": SECRET, "nul": "\0"}))
    async with hub(runtime) as on:
        started = await on.start()
        await reply(on, started, await question(on, started), edit, ActionDecision("reject", message=SECRET))
        _, events = await on.outcome(started)
        kept = await pool.fetchval("SELECT reply FROM runs WHERE thread_id = $1", started.thread_id)
    [given] = runtime.replies
    edited, rejected = given["resume"]["decisions"]
    assert edited["edited_action"] == {"name": "write_file", "args": {"path": SECRET, "nul": "\0"}}
    assert rejected == {"type": "reject", "message": SECRET}
    assert [event.kind.decisions for event in events if isinstance(event.kind, InputAnswered)] == [
        ("edit", "reject")
    ]
    assert SECRET not in str(events)
    assert kept is None


async def test_a_reply_that_comes_before_the_run_shows_that_it_waits_is_not_lost(hub: Opener) -> None:
    go_on = asyncio.Event()

    class Slow(AskingRuntime):
        async def stream(self, stream: Stream) -> None:
            if self.resumed:
                await super().stream(stream)
                return
            await stream.accept()
            await stream.send(json.dumps(asks("i1", "write_file")).encode())
            await go_on.wait()
            await stream.send(json.dumps(END).encode())

    async with hub(Slow([[], [files_frame(a="1"), END]])) as on:
        started = await on.start()
        async with asyncio.timeout(60):
            while (await on.core.refinements.get(on.user, started.thread_id)).last_seq < 3:
                await asyncio.sleep(0.01)
        await reply(on, started, 3, APPROVE)
        go_on.set()
        proposal, events = await on.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    assert kinds(events).count("InputAnswered") == 1


async def test_a_question_is_answered_once_of_several_who_reply(hub: Opener) -> None:
    runtime = two_parts()
    async with hub(runtime) as on:
        started = await on.start()
        seq = await question(on, started)
        replies = [reply(on, started, seq, decision) for decision in (APPROVE, REJECT) * 5]
        outcomes = await asyncio.gather(*replies, return_exceptions=True)
        await on.outcome(started)
    refused = [each for each in outcomes if isinstance(each, BaseException)]
    assert len(refused) == 9
    assert all(isinstance(each, InputClosed) for each in refused)
    assert len(runtime.replies) == 1


async def test_the_same_request_with_the_same_key_replies_once_also_when_the_run_is_over(hub: Opener) -> None:
    runtime = two_parts()
    async with hub(runtime) as on:
        started = await on.start()
        seq = await question(on, started)
        first = await reply(on, started, seq, APPROVE, key="k1")
        again = await reply(on, started, seq, APPROVE, key="k1")
        with pytest.raises(KeyReused):
            await reply(on, started, seq, REJECT, key="k1")
        await on.outcome(started)
        at_last = await reply(on, started, seq, APPROVE, key="k1")
        with pytest.raises(InputClosed):
            await reply(on, started, seq, APPROVE, key="k2")
    assert [first.replayed, again.replayed, at_last.replayed] == [False, True, True]
    assert at_last.refinement.status is ProposalStatus.COMPLETED
    assert len(runtime.replies) == 1


@pytest.mark.parametrize(
    ("decisions", "error"),
    [
        ([], InvalidArgument),
        ([APPROVE, APPROVE], InvalidArgument),
        ([ActionDecision("respond")], InvalidArgument),
        ([ActionDecision("edit")], InvalidArgument),
        ([ActionDecision("edit", "[1]")], InvalidArgument),
        ([ActionDecision("edit", "{")], InvalidArgument),
        ([ActionDecision("edit", '{"a": NaN}')], InvalidArgument),
        ([ActionDecision("edit", '{"a": 1e999}')], InvalidArgument),
        ([ActionDecision("edit", '{"a":' + "[" * 200 + "]" * 200 + "}")], InvalidArgument),
        ([ActionDecision("edit", '{"a":' * 90_000)], InvalidArgument),
        ([ActionDecision("approve", "{}")], InvalidArgument),
        ([ActionDecision("approve", message="Fine.")], InvalidArgument),
    ],
)
async def test_decisions_that_the_question_does_not_allow_are_refused(
    hub: Opener, decisions: list[ActionDecision], error: type[Exception]
) -> None:
    runtime = two_parts()
    async with hub(runtime) as on:
        started = await on.start()
        seq = await question(on, started)
        with pytest.raises(error):
            await reply(on, started, seq, *decisions)
        assert (await on.waiting(started)).status is ProposalStatus.AWAITING_INPUT
    assert not runtime.replies


async def test_only_a_question_that_has_actions_can_be_answered(hub: Opener) -> None:
    runtime = AskingRuntime([[state_frame(__interrupt__="[Interrupt(value='ok?', id='i1')]"), END]])
    async with hub(runtime) as on:
        started = await on.start()
        seq = await question(on, started)
        with pytest.raises(Unprocessable):
            await reply(on, started, seq, APPROVE)
        for other in (1, seq - 1, seq + 7):
            with pytest.raises(NotFound):
                await reply(on, started, other, APPROVE)


async def test_who_may_not_act_may_not_reply_and_learns_nothing(hub: Opener, pool: Any) -> None:
    async with hub(two_parts()) as on:
        started = await on.start()
        seq = await question(on, started)
        stranger, viewer = await a_user(pool), await a_user(pool)
        await on.core.sharing.grant(on.user, started.proposal_id, viewer.user_id, AccessType.VIEWER)
        for caller, error in ((stranger, NotFound), (viewer, PermissionDenied)):
            with pytest.raises(error):
                await on.core.input_replies.reply(caller, started.thread_id, seq, [APPROVE])


async def test_a_reply_is_refused_where_the_runtime_cannot_continue_a_run(hub: Opener) -> None:
    runtime = two_parts()
    async with hub(runtime, runtime_can_resume=False) as on:
        started = await on.start()
        seq = await question(on, started)
        with pytest.raises(ReplyUnsupported):
            await reply(on, started, seq, APPROVE)
        assert "input_replies" not in on.core.server_info.features
    assert not runtime.replies


async def test_a_question_of_a_run_that_has_ended_is_closed(hub: Opener) -> None:
    async with hub(two_parts()) as on:
        started = await on.start()
        seq = await question(on, started)
        await on.core.refinements.cancel(on.user, started.thread_id)
        with pytest.raises(InputClosed):
            await reply(on, started, seq, APPROVE)


async def test_a_question_says_until_when_it_can_be_answered(hub: Opener) -> None:
    began = datetime.now(UTC)
    async with hub(AskingRuntime([[asks("i1", "write_file"), END]]), run_max_duration_s=3) as on:
        started = await on.start()
        begun = datetime.now(UTC)
        proposal, events = await on.outcome(started)
        [asked] = [event for event in events if isinstance(event.kind, InputRequested)]
        with pytest.raises(InputClosed):
            await reply(on, started, asked.seq, APPROVE)
    assert verdict(proposal)[:2] == ("failed", "input_not_given")
    assert isinstance(asked.kind, InputRequested)
    assert asked.kind.expires_at is not None
    assert began < asked.kind.expires_at - timedelta(seconds=3) < begun


async def test_a_proposal_is_not_reviewed_before_the_run_that_went_on_has_ended(hub: Opener) -> None:
    runtime = AskingRuntime([[asks("i1", "write_file", a="1"), END], [files_frame(a="1"), SILENCE]])
    async with hub(runtime) as on:
        started = await on.start()
        seq = await question(on, started)
        for _ in range(2):
            proposal = await on.core.proposals.get(on.user, started.proposal_id)
            assert not proposal.files
            with pytest.raises(Conflict):
                await on.core.reviews.reject(on.user, proposal.id, "", if_match=IfMatch(any_state=True))
            if not runtime.replies:
                await reply(on, started, seq, APPROVE)
                await until(lambda: runtime.replies)


# The runtime's answers.


@pytest.mark.parametrize("answers", [[503, 200], [0, 200], [500, 0, 503, 200]])
async def test_a_reply_is_given_until_the_runtime_answers_and_the_run_goes_on_once(
    hub: Opener, answers: list[int]
) -> None:
    runtime = two_parts()
    runtime.answers = answers
    calls = len(answers)
    async with hub(runtime) as on:
        started = await on.start()
        await reply(on, started, await question(on, started), APPROVE)
        proposal, events = await on.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "1", "/b": "2"})
    assert len(runtime.replies) == calls
    assert len(runtime.resumed) == 1
    assert kinds(events).count("InputAnswered") == 1
    assert kinds(events).count("Token") == 1


async def test_a_runtime_that_refuses_the_reply_fails_the_run_with_its_reason_and_files(hub: Opener) -> None:
    runtime = two_parts()
    runtime.answers = [409]
    async with hub(runtime) as on:
        started = await on.start()
        await reply(on, started, await question(on, started), APPROVE)
        proposal, _ = await on.outcome(started)
    assert verdict(proposal) == ("failed", "input_refused", {"/a": "1"})
    assert proposal.failure is not None
    assert "it is refused" in proposal.failure.message


async def test_a_run_that_went_on_ends_when_its_time_is_over(hub: Opener) -> None:
    runtime = AskingRuntime([[asks("i1", "write_file"), END], [files_frame(a="1"), SILENCE]])
    async with hub(runtime, run_max_duration_s=4) as on:
        started = await on.start()
        await reply(on, started, await question(on, started), APPROVE)
        proposal, _ = await on.outcome(started)
    assert verdict(proposal) == ("failed", "deadline_exceeded", {"/a": "1"})


async def test_a_run_that_went_on_can_be_cancelled(hub: Opener) -> None:
    runtime = AskingRuntime([[asks("i1", "write_file"), END], [files_frame(a="1"), SILENCE]])
    async with hub(runtime) as on:
        started = await on.start()
        await reply(on, started, await question(on, started), APPROVE)
        await until(lambda: runtime.replies)
        await on.core.refinements.cancel(on.user, started.thread_id)
        proposal, _ = await on.outcome(started)
    assert proposal.status is ProposalStatus.CANCELLED


# Other replicas.


async def test_a_reply_reaches_the_replica_that_drives_the_run(database: str, pool: Any) -> None:
    runtime = two_parts()
    chosen: dict[str, Any] = {"runtime_can_resume": True, "runtime_profile": "full", "run_idle_s": 30.0}
    async with (
        serve_runtime(runtime) as url,
        driven(url, database, pool, replica="owner", limits={"renew_s": 0.1}, **chosen) as owner,
        driven(url, database, pool, replica="other", **chosen) as other,
    ):
        started = await owner.start()
        seq = await question(owner, started)
        await other.core.input_replies.reply(owner.user, started.thread_id, seq, [APPROVE])
        proposal, _ = await owner.outcome(started)
    assert verdict(proposal)[0] == "completed"
    assert len(runtime.replies) == 1


@pytest.mark.parametrize("profile", ["full", "ids", "none"])
async def test_a_run_that_went_on_is_taken_over_without_another_reply(
    database: str, pool: Any, profile: str
) -> None:
    second = [token_frame("one"), token_frame("two")]
    runtime = AskingRuntime([[files_frame(a="1"), asks("i1", "write_file", a="1"), END], [*second, SILENCE]])
    chosen: dict[str, Any] = {"runtime_can_resume": True, "runtime_profile": profile, "run_idle_s": 30.0}
    async with serve_runtime(runtime) as url:
        async with driven(url, database, pool, **chosen) as first:
            started = await first.start()
            seq = await question(first, started)
            await reply(first, started, seq, APPROVE)
            async with asyncio.timeout(60):
                while (await first.core.refinements.get(first.user, started.thread_id)).last_seq < seq + 3:
                    await asyncio.sleep(0.01)
        runtime.parts = [runtime.parts[0], [*second, token_frame("three"), files_frame(a="1"), END]]
        async with driven(url, database, pool, **chosen) as taker:
            taker.user = first.user
            proposal, events = await taker.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    assert len(runtime.replies) == 1
    gaps = sum(isinstance(event.kind, Discontinuity) for event in events)
    assert gaps == (profile == "none")
    assert kinds(events).count("Token") == (3 if profile != "none" else 5)


async def test_the_next_owner_gives_a_journalled_reply_to_the_runtime(database: str, pool: Any) -> None:
    runtime = two_parts()
    runtime.answers = [503] * 1000
    chosen: dict[str, Any] = {"runtime_can_resume": True, "runtime_profile": "full", "run_idle_s": 30.0}
    async with serve_runtime(runtime) as url:
        async with driven(url, database, pool, **chosen) as first:
            started = await first.start()
            await reply(first, started, await question(first, started), APPROVE)
            await until(lambda: runtime.replies)
        runtime.answers = []
        async with driven(url, database, pool, **chosen) as taker:
            taker.user = first.user
            proposal, events = await taker.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "1", "/b": "2"})
    assert len({each["resume_id"] for each in runtime.replies}) == 1
    assert kinds(events).count("InputAnswered") == 1
    assert {event.epoch for event in events} == {1}


async def test_a_reply_without_a_thread_is_not_found(hub: Opener) -> None:
    async with hub(two_parts()) as on:
        with pytest.raises(NotFound):
            await on.core.input_replies.reply(on.user, uuid4(), 1, [APPROVE])
