"""What holds for the verdict of every history of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.domain.journal.events import Outcome
from server.domain.runs.actions import (
    AskFiles,
    AskState,
    AwaitInput,
    Connect,
    KeepListening,
    StateAnswer,
)
from server.domain.runs.limits import Profile
from server.domain.runs.runtime import Interpretation, RuntimeState, UpstreamError
from tests.unit.domain.runs.history import (
    AWAY,
    EMPTY,
    FAILED,
    LIMITS,
    RUNNING,
    UNKNOWN,
    Break,
    End,
    Frame,
    Passes,
    Repeat,
    Run,
    Says,
    Silence,
    Step,
    completed,
)

ERROR = UpstreamError("it broke", "execution_failed")
ERRORS = st.sampled_from([None, None, ERROR, UpstreamError("timeout", "streaming_timeout")])
ANSWERS: list[StateAnswer] = [RUNNING, FAILED, EMPTY, UNKNOWN, AWAY, completed(a="1"), RuntimeState("paused")]

FRAMES = st.builds(
    Frame,
    shows=st.sampled_from([None, True, False]),
    map_read=st.booleans(),
    asks=st.booleans(),
    polled=st.booleans(),
    error=ERRORS,
    gap=st.booleans(),
    old=st.booleans(),
)
STEPS = st.one_of(
    FRAMES,
    st.builds(Repeat),
    st.builds(End, st.booleans()),
    st.builds(Break, st.booleans()),
    st.builds(Silence, st.booleans()),
    st.builds(Says, st.sampled_from(ANSWERS), st.just(1)),
    st.builds(Passes, st.sampled_from([0.0, 1.0, 29.0, 31.0, 700.0])),
)
HISTORIES = st.lists(STEPS, max_size=40)
RUNS = st.fixed_dictionaries(
    {
        "push_only": st.booleans(),
        "from_first_frame": st.booleans(),
        "limits": st.sampled_from([replace(LIMITS, profile=profile) for profile in get_args(Profile)]),
    }
)


def happen(run: Run, steps: Sequence[Step]) -> list[Step]:
    """Let the steps that fit happen until there is a verdict; those that did."""
    done = []
    for step in steps:
        if run.verdict is not None:
            break
        if run.fits(step):
            run.step(step)
            done.append(step)
    return done


@given(RUNS, HISTORIES)
def test_the_same_history_has_the_same_verdict(kind: dict[str, Any], steps: list[Step]) -> None:
    one, other = Run(**kind), Run(**kind)
    happen(one, steps)
    happen(other, steps)
    assert one.actions == other.actions


@given(RUNS, HISTORIES, st.sampled_from(ANSWERS))
def test_a_verdict_stays_whatever_comes_later(
    kind: dict[str, Any], steps: list[Step], answer: StateAnswer
) -> None:
    run = Run(**kind)
    happen(run, [*steps, End(), Says(FAILED), Silence(), Says(FAILED)])
    verdict = run.verdict
    if verdict is None:
        return
    rules, later = run.verdicts, run.now + 10_000
    assert rules.idle(run.now, run.facts, caught_up=True) == verdict
    rules.frame(Interpretation(error=ERROR), is_new=True)
    assert rules.ended(b"another", later, run.facts) == verdict
    assert rules.idle(later, run.facts, caught_up=True) == verdict
    assert rules.lost(later, run.facts) == verdict
    questions: list[AskState | AskFiles] = [
        AskFiles(AwaitInput(), grace_ends_at=0),
        AskState(KeepListening(), grace_ends_at=0),
    ]
    for question in questions:
        assert rules.answered(question, answer, later, run.facts) == verdict


@given(RUNS, HISTORIES, HISTORIES)
def test_an_error_is_never_a_success(kind: dict[str, Any], steps: list[Step], later: list[Step]) -> None:
    run = Run(**kind)
    happen(run, steps)
    report = Frame(error=ERROR)
    if run.verdict is not None or not run.fits(report):
        return
    happen(run, [report, *later])
    assert not isinstance(run.action, AwaitInput)
    assert run.verdict is None or run.verdict.reason == "upstream_error"


@given(RUNS, HISTORIES, HISTORIES)
def test_a_question_is_never_a_success(kind: dict[str, Any], steps: list[Step], later: list[Step]) -> None:
    run = Run(**kind)
    happen(run, steps)
    asks = Frame(shows=True, asks=True)
    if run.verdict is not None or not run.fits(asks):
        return
    happen(run, [asks, *later])
    assert run.verdict is None or run.verdict.reason == "upstream_error"


@given(RUNS, HISTORIES)
def test_only_an_end_or_a_completed_state_completes_a_run(kind: dict[str, Any], steps: list[Step]) -> None:
    run = Run(**kind)
    done = happen(run, steps)
    if run.verdict is None or run.verdict.outcome is not Outcome.COMPLETED:
        return
    said = [step.answer for step in done if isinstance(step, Says) and isinstance(step.answer, RuntimeState)]
    ended = any(isinstance(step, End) for step in done)
    assert ended or any(answer.status == "completed" for answer in said)
    if kind["push_only"]:
        # A channel sends the end of every success: a completed state counts only with its files.
        assert ended or any(answer.files for answer in said)


@given(RUNS, HISTORIES)
@example(
    {"push_only": False, "from_first_frame": False, "limits": replace(LIMITS, profile="none")},
    [Frame(polled=True), End(), Says(FAILED)],
)
def test_a_verdict_that_a_state_gives_marks_what_may_be_missing(
    kind: dict[str, Any], steps: list[Step]
) -> None:
    run = Run(**kind)
    done = happen(run, steps)
    verdict = run.verdict
    if verdict is None or verdict.delta or (verdict.reason == "upstream_lost" and not verdict.gap):
        # The runtime's `end` marks the last frame.
        return
    if run.facts.error is not None:
        # An error frame gave it.
        return
    broke = any(isinstance(step, Break) for step in done)
    missed_nothing = kind["push_only"] and run.verdicts.from_first_frame and not broke
    assert verdict.gap == (not missed_nothing)


@given(RUNS, HISTORIES)
def test_files_of_a_state_never_empty_those_of_the_stream(kind: dict[str, Any], steps: list[Step]) -> None:
    run = Run(**kind)
    happen(run, steps)
    assert run.verdict is None or run.verdict.files is None or run.verdict.files


#: How long a stream that brings nothing more may put off a state that decides: its last looks, each an idle
#: time and a pause, the polls of an unknown thread, and the grace time of an empty result.
SOCKET_BOUND_S = (
    LIMITS.silent_s
    + (LIMITS.max_fruitless_reconnects + 2) * (LIMITS.idle_s + LIMITS.max_reconnect_s)
    + 2 * LIMITS.max_unknown_thread_answers * LIMITS.state_poll_s
    + LIMITS.empty_result_grace_s
)
CHANNEL_BOUND_S = (
    LIMITS.silent_s + 3 * LIMITS.idle_s + 2 * LIMITS.max_unknown_thread_answers * LIMITS.state_poll_s
)


@settings(max_examples=100)
@given(
    RUNS,
    HISTORIES,
    st.sampled_from([FAILED, EMPTY, UNKNOWN, completed(a="1")]),
    st.sampled_from([Break(), Break(opened=False), Silence(), Silence(caught_up=False)]),
)
def test_a_runtime_that_is_done_with_a_run_ends_it_within_a_bound(
    kind: dict[str, Any], steps: list[Step], answer: StateAnswer, stream: Step
) -> None:
    run = Run(**kind)
    happen(run, steps)
    if kind["push_only"]:
        # While its channel cannot be listened to, only the longest run bounds a run.
        stream = Silence()
    since, actions = run.now, len(run.actions)
    while run.verdict is None and not isinstance(run.action, AwaitInput):
        run.step(Says(answer) if run.fits(Says(answer)) else stream)
        assert len(run.actions) - actions < 200
    assert run.now - since <= (CHANNEL_BOUND_S if kind["push_only"] else SOCKET_BOUND_S)


@given(RUNS, st.lists(st.one_of(FRAMES, STEPS), max_size=60))
def test_no_action_repeats_without_time_or_a_step(kind: dict[str, Any], steps: list[Step]) -> None:
    run = Run(**kind)
    happen(run, steps)
    for action, later in zip(run.actions, run.actions[1:], strict=False):
        if (
            isinstance(action, AskState)
            and isinstance(later, AskState)
            and later.undecided == action.undecided
        ):
            assert later.after_s > 0
    for connect in run.actions[1:]:
        assert not isinstance(connect, Connect) or connect.after_s > 0


@pytest.mark.parametrize("push_only", [False, True])
def test_a_run_that_goes_on_is_never_judged(push_only: bool) -> None:
    run = Run(push_only=push_only)
    for _ in range(500):
        run.play([Frame(), Silence(), Says(RUNNING), Break()])
        run.play([] if push_only else [Says(RUNNING)])
    assert run.verdict is None
