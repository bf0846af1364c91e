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
from server.domain.runs.runtime import ENDPOINT_CONTEXTS, RuntimeState, UpstreamError
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
TIMEOUT = UpstreamError("Execution timeout", "streaming_timeout")

TOKEN, STATE, NO_FILES = Frame(), Frame(shows=True), Frame(shows=False)
#: A state frame without a file map, one that asks a person, and an error.
NO_MAP, ASKS, FAILS = Frame(shows=False, map_read=False), Frame(shows=True, asks=True), Frame(error=ERROR)
#: A state frame whose file map cannot be read, and one with an entry that cannot.
UNREAD, PARTLY = Frame(shows=False, map_read=False, unread=True), Frame(shows=True, unread=True)
#: After a break on a stream that does not replay, the next frame is behind a discontinuity.
LATER_TOKEN, LATER_STATE = replace(TOKEN, gap=True), replace(STATE, gap=True)
POLLED = Frame(shows=False, polled=True)

DONE = Verdict(Outcome.COMPLETED, delta=END_DELTA)
NO_RESULT = "the runtime says that the run completed, but shows no file"
NOT_PROVEN = "frames may be lost, and the runtime says that the run completed, but shows no file"
ERROR_AND_END = Verdict(Outcome.FAILED, "upstream_error", "it broke", delta=END_DELTA)
FORGOTTEN = Verdict(Outcome.FAILED, "upstream_lost", "the runtime no longer knows the run")
LOST_FILES = Verdict(
    Outcome.FAILED,
    "upstream_lost",
    "the run ended, but frames were lost, and with them perhaps its last files",
    END_DELTA,
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
#: Two connections on which the endpoint gives up a run that the runtime does not know any more.
GIVES_UP: list[Step] = [
    Frame(error=TIMEOUT),
    End(),
    Says(UNKNOWN, 2),
    Frame(error=TIMEOUT),
    End(),
    Says(UNKNOWN),
]

IDS: dict[str, Any] = {"limits": replace(LIMITS, profile="ids")}
FULL: dict[str, Any] = {"limits": replace(LIMITS, profile="full")}
CHANNEL: dict[str, Any] = {"push_only": True}
TAKEN_OVER: dict[str, Any] = {"push_only": True, "from_first_frame": False}
HAS_FILES = JournalFacts(has_files=True, files_seen=True)
WAITING = JournalFacts(has_files=True, files_seen=True, awaiting_input=True)

#: Answers that say nothing about the files of a run that has ended.
UNSETTLED: list[tuple[str, StateAnswer]] = [("running", RUNNING), ("unknown", UNKNOWN), ("away", AWAY)]
BOTH: list[tuple[str, dict[str, Any]]] = [("socket", {}), ("channel", CHANNEL)]

END_ROWS = [
    row("an end after state frames is completed", [STATE, STATE, End()], DONE),
    row("an end after a state frame without files is completed", [TOKEN, NO_FILES, End()], DONE),
    row("an end after all files were deleted is completed", [STATE, NO_FILES, End()], DONE),
    row("an end asks for the files that no frame showed", [TOKEN, End()], AskFiles),
    row("an end alone asks for the files", [End()], AskFiles),
    row("an end asks for the files when no file map could be read", [NO_MAP, End()], AskFiles),
    row(
        "an end takes the state's files when no frame showed any",
        [NO_MAP, End(), Says(completed(a="1"))],
        replace(DONE, files=files(a="1")),
    ),
    row(
        "an end after text alone is completed when the state has no files", [NO_MAP, End(), Says(EMPTY)], DONE
    ),
    row(
        "an end after tokens alone is completed when the state has no files",
        [TOKEN, End(), Says(EMPTY)],
        DONE,
    ),
    row(
        "an end after text alone is failed when the state is",
        [NO_MAP, End(), Says(replace(FAILED, files=files(a="1")))],
        fails("upstream_error", "it broke", delta=END_DELTA, files=files(a="1")),
    ),
    *(
        row(
            f"an end without a file map asks again when the state is {name}",
            [TOKEN, End(), Says(answer, GRACE - 1)],
            AskFiles,
        )
        for name, answer in UNSETTLED
    ),
    *(
        row(
            f"an end without a file map is completed when the state stays {name}",
            [TOKEN, End(), Says(answer, GRACE)],
            DONE,
        )
        for name, answer in UNSETTLED
    ),
    *(
        row(
            f"an end takes the files of a state that was {name} before",
            [TOKEN, End(), Says(answer, 3), Says(completed(a="1"))],
            replace(DONE, files=files(a="1")),
        )
        for name, answer in UNSETTLED
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
        [STATE, Break(), Says(RUNNING), End(gap=True), Says(replace(RUNNING, files=files(a="2")), GRACE)],
        LOST_FILES,
    ),
    row(
        "an end after a gap is failed when the state is: the error may be lost",
        [STATE, Break(), Says(RUNNING), End(gap=True), Says(FAILED)],
        fails("upstream_error", "it broke", delta=END_DELTA),
    ),
    row(
        "an end after a gap and text alone is completed when the state has no files",
        [NO_MAP, Break(), Says(RUNNING), replace(NO_MAP, gap=True), End(), Says(EMPTY)],
        DONE,
    ),
    row(
        "an end after a gap and tokens alone is lost",
        [NO_MAP, Break(), Says(RUNNING), LATER_TOKEN, End(), Says(EMPTY)],
        LOST_FILES,
    ),
    *(
        row(f"an end after a gap and a file map is completed ({kind})", steps, DONE, **run)
        for kind, run, steps in [
            ("socket", {}, [STATE, Break(), Says(RUNNING), LATER_STATE, End()]),
            ("channel", CHANNEL, [STATE, Break(), LATER_STATE, End()]),
        ]
    ),
    *(
        row(
            f"an end after a gap, without a file map since, is lost when the state is {name} ({kind})",
            [*steps, End(gap=True), Says(answer, times)],
            LOST_FILES,
            **run,
        )
        for name, answer, times in [("completed", EMPTY, 1), *((*each, GRACE) for each in UNSETTLED)]
        for kind, run, steps in [
            ("socket", {}, [STATE, Break(), Says(RUNNING)]),
            ("channel", CHANNEL, [STATE, Break()]),
        ]
    ),
]

#: Steps whose last file map was not wholly read, though nothing is lost.
UNSHOWN: list[tuple[str, list[Step]]] = [
    ("cannot be read", [STATE, UNREAD]),
    ("has an unreadable entry", [STATE, PARTLY]),
    ("cannot be read, before tokens", [STATE, UNREAD, TOKEN]),
    ("cannot be read, before a state without one", [STATE, UNREAD, NO_MAP]),
    ("cannot be read, after a gap and another", [STATE, Break(), Says(RUNNING), LATER_STATE, UNREAD]),
    ("has an unreadable entry, after a gap", [STATE, Break(), Says(RUNNING), replace(PARTLY, gap=True)]),
]

UNREAD_ROWS = [
    *(
        row(f"an end {name}, when the last file map {how}", [*steps, End(), *answers], expected)
        for how, steps in UNSHOWN
        for name, answers, expected in [
            ("asks for the files", [], AskFiles),
            ("takes the state's files", [Says(completed(a="2"))], replace(DONE, files=files(a="2"))),
            ("keeps the files when the state has none", [Says(EMPTY)], DONE),
            *(
                (f"keeps the files when the state stays {name}", [Says(answer, GRACE)], DONE)
                for name, answer in UNSETTLED
            ),
            (
                "is failed when the state is",
                [Says(FAILED)],
                fails("upstream_error", "it broke", delta=END_DELTA),
            ),
        ]
    ),
    *(
        row(f"an end after a file map is completed, though one before {how}", [*steps, STATE, End()], DONE)
        for how, steps in UNSHOWN
    ),
    row("an end after deleted files is completed", [STATE, UNREAD, NO_FILES, End()], DONE),
    row(
        "an end is lost when only file maps before a gap could be read",
        [STATE, Break(), Says(RUNNING), replace(UNREAD, gap=True), End(), Says(EMPTY)],
        LOST_FILES,
    ),
    row(
        "a question asks for the files when the last file map cannot be read",
        [ASKS, UNREAD, End(), Says(completed(a="2"))],
        AwaitInput(files(a="2")),
    ),
    row(
        "an end after a takeover asks for the files when the last file map cannot be read",
        [End()],
        AskFiles,
        facts=JournalFacts(has_files=True, files_seen=True, files_unread=True),
    ),
    row(
        "after a poller's end and the grace time, files of the stream count, though the last ones are unread",
        [STATE, UNREAD, POLLED, End(), Says(EMPTY, GRACE)],
        DONE,
    ),
    row(
        "an error and an end take the state's files when the last file map cannot be read",
        [STATE, UNREAD, FAILS, End(), Says(replace(FAILED, files=files(a="2")))],
        replace(ERROR_AND_END, files=files(a="2")),
    ),
]

ERROR_ROWS = [
    *(
        row(f"{name} and an end are failed ({kind})", [*steps, End()], ERROR_AND_END, **run)
        for kind, run in BOTH
        for name, steps in [
            ("an error", [STATE, FAILS]),
            ("an error before other frames", [FAILS, TOKEN, STATE, TOKEN]),
            ("an error before another file map", [STATE, FAILS, NO_FILES]),
            ("an error before the endpoint's", [STATE, FAILS, Frame(error=TIMEOUT)]),
            ("an error after the endpoint's", [STATE, Frame(error=TIMEOUT), FAILS]),
            ("an error before a poll summary", [STATE, FAILS, POLLED]),
            ("an error after a question", [ASKS, FAILS]),
            ("an error before a question", [FAILS, ASKS]),
        ]
    ),
    *(
        row(
            f"an error without an end is failed when the state is {name} ({kind}, {how})",
            [STATE, FAILS, stream, Says(answer, times)],
            fails("upstream_error", "it broke", gap=how == "break" or kind == "socket"),
            **run,
        )
        for kind, run in BOTH
        for how, stream in [("break", Break()), ("silence", Silence())]
        for name, answer, times in [
            ("completed", EMPTY, 1),
            ("failed", RuntimeState("failed", error="something else"), 1),
            *((*each, GRACE) for each in UNSETTLED),
        ]
    ),
    row(
        "an error without an end takes the files that only the state has",
        [FAILS, Break(), Says(completed(a="1"))],
        fails("upstream_error", "it broke", gap=True, files=files(a="1")),
    ),
    row(
        "an error and an end take the files that only the state has",
        [FAILS, End(), Says(replace(FAILED, files=files(a="1")))],
        replace(ERROR_AND_END, files=files(a="1")),
    ),
    row(
        "an error in the journal is failed after a takeover",
        [Says(completed(a="1"))],
        fails("upstream_error", "it broke", gap=True, files=files(a="1")),
        facts=JournalFacts(has_files=True, files_seen=True, error=ERROR),
    ),
    row(
        "an error in the journal is failed after a takeover, though a question is open",
        [Says(RUNNING, GRACE)],
        fails("upstream_error", "it broke", gap=True),
        facts=JournalFacts(awaiting_input=True, error=ERROR),
    ),
    *(
        row(
            f"a stream that replays is read again for what is behind an error ({profile}, {how})",
            steps,
            expected,
            limits=replace(LIMITS, profile=profile),
        )
        for profile in ("full", "ids")
        for how, steps, expected in [
            ("break", [STATE, FAILS, Break()], Connect(LIMITS.reconnect_first_s)),
            ("end", [STATE, FAILS, Break(), Repeat(), NO_FILES, End()], ERROR_AND_END),
            (
                "breaks",
                [STATE, FAILS, *again(4, Break()), Says(EMPTY)],
                fails("upstream_error", "it broke"),
            ),
            ("silence", [STATE, FAILS, Silence(), Says(EMPTY)], fails("upstream_error", "it broke")),
        ]
    ),
    row(
        "a stream that replays is read again after a takeover for what is behind an error",
        [],
        Connect(),
        **FULL,
        facts=JournalFacts(has_files=True, files_seen=True, error=ERROR),
    ),
    *(
        row(
            f"an error with the context {context} is the endpoint's, and no verdict",
            [STATE, Frame(error=UpstreamError("gave up", context)), *ends, Says(RUNNING)],
            Connect(LIMITS.reconnect_first_s),
        )
        for context in sorted(ENDPOINT_CONTEXTS)
        for ends in ([Break()], [End(), Says(RUNNING)])
    ),
    row(
        "after an endpoint's timeout, a failed state decides",
        [STATE, Frame(error=TIMEOUT), End(), Says(FAILED)],
        fails("upstream_error", "it broke", gap=True),
    ),
    row(
        "after an endpoint's timeout, a completed state without files is not believed",
        [STATE, Frame(error=TIMEOUT), End(), Says(EMPTY), Passes(30), Says(EMPTY)],
        fails("upstream_lost", NOT_PROVEN, gap=True),
    ),
    row(
        "an endpoint's timeout and an end on a later connection are no verdict",
        [Break(), Says(RUNNING), Frame(error=TIMEOUT, gap=True), End(), Says(RUNNING, 2)],
        Connect(LIMITS.reconnect_first_s),
    ),
]

QUESTION_ROWS = [
    *(
        row(f"{name} awaits input ({kind})", steps, AwaitInput(), **run)
        for kind, run in BOTH
        for name, steps in [
            ("an end after a question", [ASKS, End()]),
            ("an end after a question and another state", [ASKS, STATE, End()]),
            ("an end after a question and tokens", [ASKS, TOKEN, TOKEN, End()]),
            ("an end after a question and deleted files", [ASKS, NO_FILES, End()]),
            ("an end after a question and a poll summary", [ASKS, POLLED, End()]),
            ("an end after a question without files", [Frame(shows=False, asks=True), End()]),
        ]
    ),
    *(
        row(
            f"a question stays open over {how}, when the state is {name}",
            [*steps, Says(answer)],
            AwaitInput(answer.files or None),
        )
        for how, steps in [
            ("a break", [ASKS, Break()]),
            ("a break behind another state", [ASKS, STATE, Break()]),
            ("a break after another connection", [ASKS, Break(), Says(RUNNING), LATER_STATE, Break()]),
            ("the endpoint's timeout", [ASKS, Frame(error=TIMEOUT), End(), Says(RUNNING)]),
            ("a connection that fails", [ASKS, Break(), Says(RUNNING), Break(opened=False)]),
        ]
        for name, answer in [("completed", EMPTY), ("completed with files", completed(a="1"))]
    ),
    *(
        row(
            f"a question stays open over silence when the state is {name} ({kind})",
            [ASKS, *again(5, Silence(), Says(answer))],
            AwaitInput(),
            **run,
        )
        for kind, run in BOTH
        for name, answer in [("completed", EMPTY)]
    ),
    row(
        "a question stays open when the runtime forgets the run",
        [ASKS, Break(), Says(UNKNOWN, DENIALS), *again(3, Break(), Says(UNKNOWN))],
        AwaitInput(),
    ),
    row(
        "a question stays open when the endpoint gives up a forgotten run on each connection",
        [ASKS, Break(), Says(UNKNOWN, DENIALS), *GIVES_UP],
        AwaitInput(),
    ),
    *(
        row(
            f"the run behind a question is read on while the state is {name}",
            [ASKS, Break(), Says(answer)],
            Connect(LIMITS.reconnect_first_s),
        )
        for name, answer in [("running", RUNNING), ("away", AWAY)]
    ),
    row(
        "an end after a gap asks for the files before it awaits input",
        [ASKS, Break(), Says(RUNNING), End(gap=True), Says(completed(a="2"))],
        AwaitInput(files(a="2")),
    ),
    row(
        "a failed state ends a run that asks",
        [ASKS, Break(), Says(FAILED)],
        fails("upstream_error", "it broke", gap=True),
    ),
    row("a run that asks is asked about after a takeover", [], AskState, facts=WAITING),
    row(
        "a failed state ends a run that asks after a takeover",
        [Says(FAILED)],
        fails("upstream_error", "it broke", gap=True),
        facts=WAITING,
    ),
    *(
        row(
            f"a run that asks waits on after a takeover when the state is {name} ({kind})",
            [Says(answer)],
            AwaitInput(answer.files or None),
            facts=WAITING,
            **run,
        )
        for kind, run in BOTH
        for name, answer in [("completed", EMPTY), ("completed with files", completed(a="1"))]
    ),
    row(
        "a run that asks is read on after a takeover when the state is running",
        [Says(RUNNING), Frame(shows=True, gap=True), End()],
        AwaitInput(),
        facts=WAITING,
    ),
]

POLLER_ROWS = [
    row("a poller's summary and an end are no verdict", [POLLED, End()], AskState),
    row("a frame after a poller's summary is the run's own", [POLLED, STATE, End()], DONE),
    row(
        "a poller's summary on an earlier connection does not count",
        [POLLED, STATE, Break(), Says(RUNNING), End()],
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
        [STATE, POLLED, End(), Says(EMPTY, GRACE)],
        DONE,
    ),
    row(
        "after a gap and a poller's end, files from before the gap are not the proof of success",
        [STATE, Break(), Says(RUNNING), replace(POLLED, gap=True), End(), Says(EMPTY, GRACE)],
        fails("upstream_lost", NOT_PROVEN, delta=END_DELTA),
    ),
    row(
        "after a poller's end, a failed state is failed",
        [STATE, POLLED, End(), Says(FAILED)],
        fails("upstream_error", "it broke", delta=END_DELTA),
    ),
    row(
        "after a poller's end, a running run is connected again",
        [POLLED, End(), Says(RUNNING, 2)],
        Connect(LIMITS.reconnect_first_s),
    ),
]

UNDECIDED: list[tuple[str, StateAnswer]] = [
    ("is running", RUNNING),
    ("gives no answer", AWAY),
    ("is empty", EMPTY),
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
        "a failed state shows files that the stream may have lost",
        [STATE, Break(), Says(replace(FAILED, files=files(a="1")))],
        fails("upstream_error", "it broke", gap=True, files=files(a="1")),
    ),
    row(
        "a broken stream is read again before a completed state with files decides: it may have asked",
        [STATE, Break(), Says(completed(a="1"))],
        Connect(0.2),
    ),
    row(
        "a question that came only when the broken stream was read again stays open",
        [STATE, Break(), Says(completed(a="1")), replace(ASKS, gap=True), Break(), Says(completed(a="1"))],
        AwaitInput(files(a="1")),
    ),
    row(
        "a completed state with files is completed after a gap when the stream, read again, is silent",
        [STATE, Break(), Says(completed(a="1")), Silence(), Says(completed(a="1"))],
        says_done(a="1"),
    ),
    row(
        "a completed state with files is completed after a gap when the stream breaks each time",
        [STATE, *again(4, Break(), Says(completed(a="1")))],
        says_done(a="1"),
    ),
    row(
        "an endpoint that gave up is left and read again before a completed state with files decides",
        [STATE, Frame(error=TIMEOUT), End(), Says(completed(a="1"), 2)],
        Connect(0.2),
    ),
    row(
        "a poll summary is not read again: a completed state with files decides",
        [STATE, POLLED, End(), Says(completed(a="1"))],
        says_done(gap=False, delta=END_DELTA, a="1"),
    ),
    row("a completed state without files is doubted", [TOKEN, Break(), Says(EMPTY)], Connect(0.2)),
    row(
        "a completed state without files for the grace time is an empty result",
        [TOKEN, Break(), Passes(30), Says(EMPTY)],
        fails("empty_result", NO_RESULT, gap=True),
    ),
    row(
        "a completed state without files does not prove that the stream showed the last ones",
        [STATE, Break(), Passes(30), Says(EMPTY)],
        fails("upstream_lost", NOT_PROVEN, gap=True),
    ),
    *(
        row(
            f"a silent stream is listened to while the state {name}",
            [STATE, *again(4, Silence(), Says(answer))],
            KeepListening(),
        )
        for name, answer in UNDECIDED
    ),
    row(
        "a silent stream is listened to however long the state is running",
        [STATE, *again(14, Silence(), Says(RUNNING))],
        KeepListening(),
    ),
    row(
        "an end while a silent stream's state is asked decides",
        [STATE, Silence(), End()],
        DONE,
    ),
    row(
        "a frame while the state is asked outdates the answer",
        [STATE, Silence(), TOKEN, Says(completed(a="1"))],
        KeepListening(),
    ),
    row(
        "a silent stream and a completed state without files are silence, not success",
        [STATE, *again(5, Silence(), Says(EMPTY))],
        fails("upstream_silent", "the runtime sent no end and nothing else for 600 s", gap=True),
    ),
    row(
        "a silent stream after a loss is lost",
        [STATE, Break(), Says(RUNNING), *again(5, Silence(), Says(EMPTY))],
        fails("upstream_lost", "frames were lost, and the runtime sent nothing more for 600 s", gap=True),
    ),
    row(
        "a silent stream and a completed state with files are completed",
        [STATE, Silence(), Says(completed(a="1"))],
        says_done(a="1"),
    ),
    row(
        "a silent stream and a failed state are failed",
        [STATE, Silence(), Says(FAILED)],
        fails("upstream_error", "it broke", gap=True),
    ),
    row(
        "the grace time lasts over connections without a new frame",
        [TOKEN, Break(), Says(EMPTY), Break(), Passes(29.8), Says(EMPTY)],
        fails("empty_result", NO_RESULT, gap=True),
    ),
    row(
        "a new frame begins the grace time anew",
        [TOKEN, Break(), Says(EMPTY), LATER_TOKEN, Passes(29), Break(), Passes(29), Says(EMPTY)],
        Connect(0.2),
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
        "an unknown thread that the endpoint gives up on each connection is lost",
        [STATE, Break(), Says(UNKNOWN, DENIALS), *GIVES_UP],
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
        Connect(0.2),
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
        Connect(0.2),
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
        Connect(0.2),
        **IDS,
    ),
    row(
        "a running run is connected again on a stream that replays",
        [STATE, Break(), Says(RUNNING)],
        Connect(0.2),
        **FULL,
    ),
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


ROWS = (
    END_ROWS
    + UNREAD_ROWS
    + ERROR_ROWS
    + QUESTION_ROWS
    + POLLER_ROWS
    + SOCKET_ROWS
    + REPLAY_ROWS
    + CHANNEL_ROWS
)


@pytest.mark.parametrize(("run", "steps", "expected"), ROWS)
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
        (JournalFacts(error=ERROR), "upstream_error", "it broke"),
    ],
)
def test_a_run_whose_time_is_over_is_failed(facts: JournalFacts, reason: str, message: str) -> None:
    assert overdue(LIMITS, facts) == fails(reason, message)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        *((answer, AwaitInput()) for answer in (RUNNING, EMPTY, UNKNOWN, AWAY)),
        (FAILED, fails("upstream_error", "it broke", gap=True)),
        (
            replace(FAILED, files=files(a="2")),
            fails("upstream_error", "it broke", gap=True, files=files(a="2")),
        ),
    ],
)
def test_of_a_run_that_waits_only_a_failed_state_is_the_end(answer: StateAnswer, expected: Action) -> None:
    run = Run()
    assert run.play([ASKS, End()]) == AwaitInput()
    question = AskFiles(AwaitInput(), grace_ends_at=run.now)
    assert run.verdicts.answered(question, answer, run.now + 1, run.facts) == expected


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


@pytest.mark.parametrize(
    "worked",
    [
        [STATE, Break(), Says(RUNNING)],
        [Silence(), Says(RUNNING), Break(), Says(RUNNING)],
        [Repeat(), Passes(LIMITS.max_reconnect_s + 1), Break(), Says(RUNNING)],
    ],
    ids=["a new frame", "a long silence", "a connection open for longer than any pause"],
)
def test_pauses_begin_anew_after_a_connection_that_worked(worked: list[Step]) -> None:
    run = Run()
    for _ in range(2000):
        assert run.play([*again(4, Break(), Says(RUNNING)), *worked]) == Connect(LIMITS.reconnect_first_s)


def test_a_connection_that_only_repeats_does_not_begin_the_pauses_anew() -> None:
    run = Run(limits=replace(LIMITS, profile="full"))
    run.play([STATE, Break(), Says(RUNNING), *again(9, Repeat(), Break(), Says(RUNNING))])
    assert run.action == Connect(LIMITS.max_reconnect_s)


def test_a_connection_that_the_runtime_gives_up_is_left_with_the_reason() -> None:
    run = Run()
    run.play([STATE, Frame(error=TIMEOUT), End(), Says(RUNNING)])
    assert LeaveConnection("the runtime ended its stream before the run was over") in run.actions


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
    assert run.verdicts.idle(due, run.facts, caught_up=True) == KeepListening()


def test_an_unknown_thread_is_asked_about_at_the_interval_of_polls() -> None:
    run = Run()
    before = run.now
    run.play([STATE, Break(), Says(UNKNOWN, DENIALS)])
    assert run.now - before == (DENIALS - 1) * LIMITS.state_poll_s
