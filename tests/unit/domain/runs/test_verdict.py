"""How runs end: each row of the tables of ADR 0010 and ADR 0013, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from server.domain.journal.events import Outcome
from server.domain.runs.actions import (
    Action,
    AskFiles,
    AskState,
    AwaitInput,
    Connect,
    JournalFacts,
    KeepListening,
    LeaveConnection,
    StateAnswer,
    Verdict,
)
from server.domain.runs.runtime import ENDPOINT_TIMEOUT, RuntimeState, UpstreamError
from server.domain.runs.verdict import crash_loop, overdue
from tests.unit.domain.runs.history import (
    AWAY,
    EMPTY,
    END_DELTA,
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
    files,
)

ERROR = UpstreamError("it broke", "execution_failed")
TIMEOUT = UpstreamError("Execution timeout", ENDPOINT_TIMEOUT)

TOKEN, STATE, NO_FILES = Frame(), Frame(shows=True), Frame(shows=False)
#: After a break on a stream that does not replay, the next frame is behind a discontinuity.
LATER_TOKEN, LATER_STATE = replace(TOKEN, gap=True), replace(STATE, gap=True)
POLLED = Frame(shows=False, polled=True)

DONE = Verdict(Outcome.COMPLETED, delta=END_DELTA)
NO_RESULT = "the runtime says that the run completed, but shows no file"
FORGOTTEN = Verdict(Outcome.FAILED, "upstream_lost", "the runtime no longer knows the run")
LOST_FILES = Verdict(
    Outcome.FAILED,
    "upstream_lost",
    "the run ended, but frames were lost, and with them perhaps its last files",
)


def fails(reason: str, message: str, **more: Any) -> Verdict:
    return Verdict(Outcome.FAILED, reason, message, **more)


def says_done(*, gap: bool = True, delta: bytes = b"", **contents: str) -> Verdict:
    return Verdict(Outcome.COMPLETED, gap=gap, delta=delta, files=files(**contents) if contents else None)


def again(times: int, *steps: Step) -> list[Step]:
    return list(steps) * times


def row(name: str, steps: Sequence[Step], expected: Action | type, **run: Any) -> Any:
    return pytest.param(run, steps, expected, id=name)


#: The grace time in polls of the state: every 2 s, the first of them at once.
GRACE = int(LIMITS.empty_result_grace_s / LIMITS.state_poll_s) + 1
#: Answers of "unknown thread" that decide.
DENIALS = LIMITS.max_unknown_thread_answers + 1

IDS: dict[str, Any] = {"limits": replace(LIMITS, profile="ids")}
FULL: dict[str, Any] = {"limits": replace(LIMITS, profile="full")}
CHANNEL: dict[str, Any] = {"push_only": True}
TAKEN_OVER: dict[str, Any] = {"push_only": True, "from_first_frame": False}
HAS_FILES = JournalFacts(has_files=True)

END_ROWS = [
    row("an end after state frames is completed", [STATE, STATE, End()], DONE),
    row("an end after tokens is completed", [TOKEN, End()], DONE),
    row("an end alone is completed", [End()], DONE),
    row("an end after all files were deleted is completed", [STATE, NO_FILES, End()], DONE),
    row(
        "an error and an end are failed",
        [STATE, Frame(error=ERROR), End()],
        fails("upstream_error", "it broke", delta=END_DELTA),
    ),
    row(
        "frames after an error do not excuse it",
        [Frame(error=ERROR), STATE, End()],
        fails("upstream_error", "it broke", delta=END_DELTA),
    ),
    row(
        "an error that is repeated is an error",
        [STATE, Frame(error=ERROR), Break(), Says(RUNNING), Repeat(), Repeat(ERROR), Repeat(), End()],
        fails("upstream_error", "it broke", delta=END_DELTA),
        **FULL,
    ),
    row(
        "an error of an earlier connection does not count",
        [Frame(error=ERROR), Break(), Says(RUNNING), STATE, End()],
        DONE,
        **IDS,
    ),
    row(
        "an error and an end are failed on a channel",
        [Frame(error=ERROR), End()],
        fails("upstream_error", "it broke", delta=END_DELTA),
        **CHANNEL,
    ),
    row("an endpoint's timeout and an end are no verdict", [STATE, Frame(error=TIMEOUT), End()], AskState),
    row(
        "after an endpoint's timeout, a running run is connected again",
        [STATE, Frame(error=TIMEOUT), End(), Says(RUNNING, 2)],
        Connect(LIMITS.reconnect_first_s),
    ),
    row(
        "after an endpoint's timeout, a failed state decides",
        [STATE, Frame(error=TIMEOUT), End(), Says(FAILED)],
        fails("upstream_error", "it broke", gap=True),
    ),
    row("an end after an interrupt awaits input", [Frame(shows=True, asks=True), End()], AwaitInput()),
    row(
        "an interrupt that was answered does not await input",
        [Frame(shows=True, asks=True), STATE, End()],
        DONE,
    ),
    row(
        "an interrupt that is journalled awaits input",
        [],
        AwaitInput(),
        facts=JournalFacts(awaiting_input=True),
    ),
    row("a poller's summary and an end are no verdict", [POLLED, End()], AskState),
    row(
        "a frame after a poller's summary is the run's own",
        [POLLED, STATE, End()],
        DONE,
    ),
    row(
        "a poller's summary on an earlier connection does not count",
        [POLLED, Break(), Says(RUNNING), End()],
        DONE,
        **IDS,
    ),
    row(
        "after a poller's end, completed with files is completed",
        [POLLED, End(), Says(EMPTY, 3), Says(completed(a="1"))],
        says_done(gap=False, delta=END_DELTA, a="1"),
    ),
    row(
        "after a poller's end, completed without files is doubted",
        [POLLED, End(), Says(EMPTY, GRACE - 1)],
        AskState,
    ),
    row(
        "after a poller's end and the grace time, no files are an empty result",
        [POLLED, End(), Says(EMPTY, GRACE)],
        fails("empty_result", NO_RESULT, delta=END_DELTA),
    ),
    row(
        "after a poller's end and the grace time, files of the stream count",
        [STATE, Frame(polled=True), End(), Says(EMPTY, GRACE)],
        DONE,
    ),
    row(
        "after a poller's end, a running run is connected again",
        [POLLED, End(), Says(RUNNING, 2)],
        Connect(LIMITS.reconnect_first_s),
    ),
    row(
        "an end after a gap asks for the last files", [STATE, Break(), Says(RUNNING), End(gap=True)], AskFiles
    ),
    row(
        "an end after a gap takes the state's files",
        [STATE, Break(), Says(RUNNING), End(gap=True), Says(completed(a="2"))],
        replace(DONE, files=files(a="2")),
    ),
    row(
        "an end after a gap does not take the files of a state that is not completed",
        [STATE, Break(), Says(RUNNING), End(gap=True), Says(replace(RUNNING, files=files(a="2")))],
        DONE,
    ),
    *(
        row(
            f"an end after a gap is completed when the state {name}",
            [STATE, Break(), Says(RUNNING), End(gap=True), Says(answer)],
            DONE,
        )
        for name, answer in [
            ("is empty", EMPTY),
            ("is failed", FAILED),
            ("is running", RUNNING),
            ("is unknown", UNKNOWN),
            ("gives no answer", AWAY),
        ]
    ),
]

SOCKET_ROWS = [
    row("a broken stream asks the state", [STATE, Break()], AskState),
    row("a stream that cannot be opened asks the state", [Break(opened=False)], AskState),
    row("a silent stream asks the state", [STATE, Silence()], AskState),
    row(
        "a running run is connected again", [STATE, Break(), Says(RUNNING)], Connect(LIMITS.reconnect_first_s)
    ),
    row(
        "a state of another word is connected again",
        [STATE, Break(), Says(RuntimeState("paused"))],
        Connect(LIMITS.reconnect_first_s),
    ),
    row("a state that gives no answer is connected again", [STATE, Break(), Says(AWAY)], Connect(0.2)),
    row(
        "a failed state is failed after a gap",
        [STATE, Break(), Says(FAILED)],
        fails("upstream_error", "it broke", gap=True),
    ),
    row(
        "a failed state without a reason says so",
        [STATE, Break(), Says(RuntimeState("failed"))],
        fails("upstream_error", "the runtime says that the run failed", gap=True),
    ),
    row(
        "a failed state shows files when the stream showed none",
        [TOKEN, Break(), Says(replace(FAILED, files=files(a="1")))],
        fails("upstream_error", "it broke", gap=True, files=files(a="1")),
    ),
    row(
        "a failed state does not replace files of the stream",
        [STATE, Break(), Says(replace(FAILED, files=files(a="1")))],
        fails("upstream_error", "it broke", gap=True),
    ),
    row(
        "a completed state with files is completed after a gap",
        [STATE, Break(), Says(completed(a="1"))],
        says_done(a="1"),
    ),
    row("a completed state without files is doubted", [TOKEN, Break(), Says(EMPTY)], Connect(0.2)),
    row(
        "a completed state without files for the grace time is an empty result",
        [TOKEN, Break(), Passes(30), Says(EMPTY)],
        fails("empty_result", NO_RESULT, gap=True),
    ),
    row(
        "a completed state without files for the grace time is completed when the stream showed files",
        [STATE, Break(), Passes(30), Says(EMPTY)],
        says_done(),
    ),
    row(
        "the grace time lasts over connections without a new frame",
        [TOKEN, Break(), Says(EMPTY), Break(), Passes(29.8), Says(EMPTY)],
        fails("empty_result", NO_RESULT, gap=True),
    ),
    row(
        "a new frame begins the grace time anew",
        [TOKEN, Break(), Says(EMPTY), LATER_TOKEN, Passes(29), Break(), Passes(29), Says(EMPTY)],
        Connect(0.4),
    ),
    row(
        "a frame that the epoch before has does not begin the grace time anew",
        [
            TOKEN,
            Break(),
            Says(EMPTY),
            replace(LATER_TOKEN, old=True),
            Passes(29),
            Break(),
            Passes(1),
            Says(EMPTY),
        ],
        fails("empty_result", NO_RESULT, gap=True),
    ),
    row("an unknown thread is asked about again", [STATE, Break(), Says(UNKNOWN, DENIALS - 1)], AskState),
    row(
        "an unknown thread is lost, after the stream was looked at once more",
        [
            STATE,
            Break(),
            Says(UNKNOWN, DENIALS),
            Break(),
            Says(UNKNOWN),
            Break(),
            Says(UNKNOWN),
            Break(),
            Says(UNKNOWN),
        ],
        FORGOTTEN,
    ),
    row(
        "an unknown thread whose stream is silent is lost",
        [STATE, Silence(), Says(UNKNOWN, DENIALS), Silence(), Says(UNKNOWN)],
        FORGOTTEN,
    ),
    row(
        "questions without an answer do not reset what is unknown",
        [
            STATE,
            Silence(),
            Says(UNKNOWN, DENIALS),
            *again(5, Silence(), Says(AWAY)),
            Silence(),
            Says(UNKNOWN),
        ],
        FORGOTTEN,
    ),
    row(
        "a thread that is known again was not lost",
        [STATE, Break(), Says(UNKNOWN, DENIALS - 1), Says(RUNNING), Break(), Says(UNKNOWN, DENIALS - 1)],
        AskState,
    ),
    row(
        "a new frame resets what is unknown",
        [STATE, Break(), Says(UNKNOWN, DENIALS), LATER_TOKEN, Break(), Says(UNKNOWN, DENIALS - 1)],
        AskState,
    ),
]

REPLAY_ROWS = [
    *(
        row(
            f"a {word} state is not believed at once on a stream that replays ({profile})",
            [STATE, Break(), Says(answer)],
            Connect(0.2),
            limits=replace(LIMITS, profile=profile),
        )
        for word, answer in [("failed", FAILED), ("completed", completed(a="1"))]
        for profile in ("full", "ids")
    ),
    *(
        row(
            f"a {word} state decides after three breaks without a new frame ({profile})",
            [STATE, Break(), Says(answer), *again(3, Repeat(), Break(), Says(answer))],
            expected,
            limits=replace(LIMITS, profile=profile),
        )
        for word, answer, expected in [
            ("failed", FAILED, fails("upstream_error", "it broke", gap=True)),
            ("completed", completed(a="1"), says_done(a="1")),
        ]
        for profile in ("full", "ids")
    ),
    row(
        "a new frame puts the state's decision off",
        [
            STATE,
            Break(),
            Says(FAILED),
            *again(2, Repeat(), Break(), Says(FAILED)),
            STATE,
            Break(),
            Says(FAILED),
        ],
        Connect(1.6),
        **FULL,
    ),
    row(
        "a replay that repeats all and is silent leaves the decision to the state",
        [STATE, Silence(), Says(FAILED), Repeat(), Silence(), Says(FAILED)],
        fails("upstream_error", "it broke", gap=True),
        **FULL,
    ),
    row(
        "a replay that is silent before it repeats all does not",
        [STATE, Silence(), Says(FAILED), Silence(caught_up=False), Says(FAILED)],
        Connect(0.4),
        **FULL,
    ),
    row(
        "a silence on an earlier connection does not count",
        [STATE, Silence(), Says(FAILED), Break(), Says(FAILED)],
        Connect(0.4),
        **FULL,
    ),
    row(
        "a full replay does not continue a later epoch, so the state decides",
        [STATE, Break(), Says(RUNNING), LATER_STATE, Break(), Says(FAILED)],
        fails("upstream_error", "it broke", gap=True),
        **FULL,
    ),
    row(
        "frames with ids continue a later epoch too",
        [STATE, Break(), Says(RUNNING), LATER_STATE, Break(), Says(FAILED)],
        Connect(0.4),
        **IDS,
    ),
    row(
        "a running run is connected again on a stream that replays",
        [STATE, Break(), Says(RUNNING)],
        Connect(0.2),
        **FULL,
    ),
]

UNDECIDED: list[tuple[str, StateAnswer]] = [
    ("is running", RUNNING),
    ("gives no answer", AWAY),
    ("is empty", EMPTY),
]

CHANNEL_ROWS = [
    row("a channel's end is completed", [STATE, End()], DONE, **CHANNEL),
    row("a silent channel asks the state and listens on", [STATE, Silence()], AskState, **CHANNEL),
    *(
        row(
            f"a channel is listened to while the state {name}",
            [STATE, *again(4, Silence(), Says(answer))],
            KeepListening(),
            **CHANNEL,
        )
        for name, answer in UNDECIDED
    ),
    row(
        "a channel is listened to however long the state is running",
        [STATE, *again(14, Silence(), Says(RUNNING))],
        KeepListening(),
        **CHANNEL,
    ),
    row(
        "a quiet channel and a completed state without files are silence, not success",
        [STATE, *again(5, Silence(), Says(EMPTY))],
        fails("upstream_silent", "the runtime sent no end and nothing else for 600 s"),
        **CHANNEL,
    ),
    row(
        "a frame begins the silence anew",
        [STATE, *again(4, Silence(), Says(EMPTY)), TOKEN, *again(4, Silence(), Says(EMPTY))],
        KeepListening(),
        **CHANNEL,
    ),
    row(
        "a frame while the state is asked begins the silence anew",
        [STATE, *again(4, Silence(), Says(EMPTY)), Silence(), TOKEN, Says(EMPTY)],
        KeepListening(),
        **CHANNEL,
    ),
    row("an end while the state is asked decides", [STATE, Silence(), End()], DONE, **CHANNEL),
    row(
        "a channel that was lost is joined again before the state is asked",
        [STATE, Break()],
        Connect(LIMITS.reconnect_first_s),
        **CHANNEL,
    ),
    row(
        "a channel that was joined again asks the state at once",
        [STATE, Break(), Silence()],
        AskState,
        **CHANNEL,
    ),
    row(
        "a quiet channel after a loss is lost, after a gap",
        [STATE, Break(), *again(6, Silence(), Says(EMPTY))],
        fails("upstream_lost", "frames were lost, and the runtime sent nothing more for 600 s", gap=True),
        **CHANNEL,
    ),
    row(
        "a quiet channel after a takeover is lost, after a gap",
        [*again(6, Silence(), Says(EMPTY))],
        fails("upstream_lost", "frames were lost, and the runtime sent nothing more for 600 s", gap=True),
        **TAKEN_OVER,
    ),
    row(
        "the time without a channel does not count as silence",
        [
            STATE,
            *again(4, Silence(), Says(EMPTY)),
            Break(),
            *again(3, Passes(600), Break(opened=False)),
            Silence(),
            Says(EMPTY),
        ],
        KeepListening(),
        **CHANNEL,
    ),
    row(
        "the time in which a channel is joined does not count as silence",
        [STATE, Break(), Passes(700), Silence(opened=False), Says(EMPTY)],
        KeepListening(),
        **CHANNEL,
    ),
    row(
        "a channel's end after a gap, without a state frame since, is lost",
        [STATE, Break(), End(gap=True), Says(EMPTY)],
        LOST_FILES,
        **CHANNEL,
    ),
    row(
        "a channel's end after a gap is lost when the state gives no answer",
        [STATE, Break(), End(gap=True), Says(AWAY)],
        LOST_FILES,
        **CHANNEL,
    ),
    row(
        "a channel's end after a gap and a state frame is completed",
        [STATE, Break(), LATER_STATE, End(), Says(EMPTY)],
        DONE,
        **CHANNEL,
    ),
    row(
        "a channel's end after a gap takes the state's files",
        [STATE, Break(), End(gap=True), Says(completed(a="2"))],
        replace(DONE, files=files(a="2")),
        **CHANNEL,
    ),
    row(
        "a failed state needs no gap on a channel that missed nothing",
        [STATE, Silence(), Says(FAILED)],
        fails("upstream_error", "it broke"),
        **CHANNEL,
    ),
    row(
        "a failed state comes after a gap on a channel that was lost",
        [STATE, Break(), Silence(), Says(FAILED)],
        fails("upstream_error", "it broke", gap=True),
        **CHANNEL,
    ),
    row(
        "a completed state with files is completed on a channel",
        [STATE, Silence(), Says(completed(a="2"))],
        says_done(gap=False, a="2"),
        **CHANNEL,
    ),
    row(
        "a channel that nobody knows is lost after one more silence",
        [Silence(), Says(UNKNOWN, DENIALS), Silence(), Says(UNKNOWN)],
        FORGOTTEN,
        **CHANNEL,
    ),
    row(
        "an endpoint's timeout on a channel asks the state, then joins again",
        [STATE, Frame(error=TIMEOUT), End(), Says(RUNNING)],
        Connect(LIMITS.reconnect_first_s),
        **CHANNEL,
    ),
]


@pytest.mark.parametrize(("run", "steps", "expected"), END_ROWS + SOCKET_ROWS + REPLAY_ROWS + CHANNEL_ROWS)
def test_what_came_decides_how_the_run_ends(
    run: dict[str, Any], steps: list[Step], expected: Action | type
) -> None:
    action = Run(**run).play(steps)
    if isinstance(expected, type):
        assert isinstance(action, expected)
    else:
        assert action == expected


@pytest.mark.parametrize(
    ("facts", "reason", "message"),
    [
        (JournalFacts(), "deadline_exceeded", "the run took longer than 1800 s"),
        (HAS_FILES, "deadline_exceeded", "the run took longer than 1800 s"),
        (
            JournalFacts(awaiting_input=True),
            "input_not_given",
            "the agent asked for input and got none within 1800 s",
        ),
    ],
)
def test_a_run_whose_time_is_over_is_failed(facts: JournalFacts, reason: str, message: str) -> None:
    assert overdue(LIMITS, facts) == fails(reason, message)


@pytest.mark.parametrize("takeovers", [0, 1, LIMITS.max_takeovers])
def test_a_run_that_was_lost_a_few_times_is_driven_again(takeovers: int) -> None:
    assert crash_loop(takeovers, LIMITS) is None


def test_a_run_that_was_lost_too_often_is_failed() -> None:
    message = "6 replicas in a row lost the run without getting it any further"
    assert crash_loop(LIMITS.max_takeovers + 1, LIMITS) == fails("crash_loop", message)


def test_pauses_between_connections_double_up_to_their_bound() -> None:
    run = Run()
    pauses = []
    for _ in range(2000):
        action = run.play([Break(), Says(RUNNING)])
        assert isinstance(action, Connect)
        pauses.append(action.after_s)
    assert pauses[:6] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert set(pauses[6:]) == {LIMITS.max_reconnect_s}


def test_each_loss_says_why() -> None:
    silent, ended = Run(), Run()
    silent.play([STATE, Silence()])
    ended.play([STATE, Frame(error=TIMEOUT), End(), Says(RUNNING)])
    assert LeaveConnection("the runtime was silent for 120 s") in silent.actions
    assert LeaveConnection("the runtime ended its stream before the run was over") in ended.actions


@pytest.mark.parametrize("push_only", [False, True])
def test_each_frame_restarts_the_idle_time(push_only: bool) -> None:
    run = Run(push_only=push_only)
    for frame in (TOKEN, Repeat(), TOKEN):
        run.play([Passes(60), frame])
        assert run.verdicts.idle_at == run.now + LIMITS.idle_s


@pytest.mark.parametrize("push_only", [False, True])
def test_a_connection_is_not_idle_while_frames_come(push_only: bool) -> None:
    run = Run(push_only=push_only)
    run.play([TOKEN])
    due = run.verdicts.idle_at
    run.play([Passes(60), TOKEN])
    assert run.verdicts.idle(due, caught_up=True) == KeepListening()


def test_an_unknown_thread_is_asked_about_at_the_interval_of_polls() -> None:
    run = Run()
    before = run.now
    run.play([STATE, Break(), Says(UNKNOWN, DENIALS)])
    assert run.now - before == (DENIALS - 1) * LIMITS.state_poll_s
