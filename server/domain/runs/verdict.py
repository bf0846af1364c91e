"""How a run ends: the rules that weigh what the runtime sends and says (ADR 0010, ADR 0013). Pure.

A state machine per run. The driver reports what happens, with the time (monotonic, in seconds) and what
the journal holds, and carries out the action that comes back. Each rule of the ADRs' tables about the
runtime is one branch here and one row of tests/unit/domain/runs/test_verdict.py.

The runtime's frames come over a WebSocket, which may be joined at any time, or over a channel without
history (`Runtime.push_only`). `SocketVerdictRules` and `ChannelVerdictRules` in
`server.domain.runs.stream_verdicts` hold what differs between the two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Final, TypeVar

from server.domain.journal.events import Outcome
from server.domain.model import FailureReason
from server.domain.proposals.files import File
from server.domain.runs.actions import (
    Action,
    AskFiles,
    AskState,
    AwaitInput,
    Connect,
    JournalFacts,
    KeepListening,
    LeaveConnection,
    NoAnswer,
    StateAnswer,
    Verdict,
)
from server.domain.runs.limits import RunLimits
from server.domain.runs.runtime import RuntimeState
from server.domain.runs.stream_record import StreamRecord

Question = TypeVar("Question", AskState, AskFiles)

#: The states that the runtime does not leave.
_OVER: Final = ("completed", "failed")
_ENDED_EARLY: Final = LeaveConnection("the runtime ended its stream before the run was over")


def failed(
    reason: FailureReason,
    message: str,
    *,
    delta: bytes = b"",
    gap: bool = False,
    files: MutableMapping[str, File] | None = None,
) -> Verdict:
    """A verdict of failure, for every reason that a run can fail for."""
    return Verdict(Outcome.FAILED, reason.value, message, delta, gap, files)


def cancelled(message: str = "the run was cancelled") -> Verdict:
    """The verdict on a run that is not to go on, or not to begin."""
    return Verdict(Outcome.CANCELLED, FailureReason.CANCELLED.value, message)


#: Reasons for which the hub gives up a run that the runtime may still work on.
GIVEN_UP: Final = frozenset(
    {
        FailureReason.CANCELLED,
        FailureReason.DEADLINE_EXCEEDED,
        FailureReason.INPUT_NOT_GIVEN,
        FailureReason.CRASH_LOOP,
        FailureReason.INTERNAL,
    }
)
INTERNAL_FAULT: Final = failed(FailureReason.INTERNAL, "a fault of the hub ended the run")


def crash_loop(takeovers: int, limits: RunLimits) -> Verdict | None:
    """The verdict on a run that too many replicas in a row lost; None while another may try.

    takeovers: those in a row between which the run got no further (`RunStore.renew`). A run that was quiet
    for a while, or waits for a person, got further, too: it is not what ended its replica.
    """
    if takeovers <= limits.max_takeovers:
        return None
    return failed(
        FailureReason.CRASH_LOOP, f"{takeovers} replicas in a row lost the run without getting it any further"
    )


def overdue(limits: RunLimits, facts: JournalFacts) -> Verdict:
    """The verdict on a run whose time is over."""
    limit = f"{limits.max_duration_s:.0f} s"
    if facts.awaiting_input:
        return failed(FailureReason.INPUT_NOT_GIVEN, f"the agent asked for input and got none within {limit}")
    if facts.error is not None:
        # Replicas that died meanwhile left no time to see whether the runtime goes on after its error.
        return failed(FailureReason.UPSTREAM_ERROR, facts.error.message)
    return failed(FailureReason.DEADLINE_EXCEEDED, f"the run took longer than {limit}")


class VerdictRules(StreamRecord, ABC):
    """The rules of one run under one lease. Once given, a verdict stays."""

    def __init__(self, limits: RunLimits, *, from_first_frame: bool) -> None:
        super().__init__(limits, from_first_frame=from_first_frame)
        self._verdict: Verdict | None = None

    # Reports, beside those of the streams.

    def start(self, now: float, facts: JournalFacts) -> Action:
        """The runtime has the job."""
        if facts.error is not None and not self._replays(facts):
            return self._end_with_error(now, facts.error.message, gap=True)
        if facts.awaiting_input and facts.error is None:
            return self._ask(now, self._reconnect(now))
        return Connect()

    def ended(self, delta: bytes, now: float, facts: JournalFacts) -> Action:
        """The connection brought its `end` frame, and nothing more."""
        return self._verdict or self._keep(self._weigh_end(delta, now, facts))

    def idle(self, now: float, facts: JournalFacts, *, caught_up: bool) -> Action:
        """`idle_at` may have passed. `caught_up`: as in `Alignment`."""
        if self._verdict is not None:
            return self._verdict
        if now < self.idle_at:
            # A frame came meanwhile.
            return KeepListening()
        self._was_caught_up, self._is_idle = caught_up, True
        if facts.error is not None:
            gap = self._may_have_missed_frames() and not self._replays(facts)
            return self._end_with_error(now, facts.error.message, gap=gap)
        return self._ask(now, KeepListening())

    def lost(self, now: float, facts: JournalFacts) -> Action:
        """The connection was left, or could not be opened."""
        if self._verdict is not None:
            return self._verdict
        if facts.error is None:
            return self._weigh_loss(now)
        if self._replays(facts) and self._stream_may_tell_more():
            return self._reconnect(now)
        return self._end_with_error(now, facts.error.message, gap=not self._replays(facts))

    def answered(
        self, question: AskState | AskFiles, answer: StateAnswer, now: float, facts: JournalFacts
    ) -> Action:
        """The runtime's answer to a question."""
        if self._verdict is not None:
            return self._verdict
        if isinstance(question, AskFiles):
            return self._keep(self._weigh_last_files(question, answer, now, facts))
        if isinstance(question.undecided, KeepListening) and not self._is_idle:
            # A frame came while the state was asked: the answer is older.
            return KeepListening()
        action = self._keep(self._weigh_state(question, answer, now, facts))
        if isinstance(action, KeepListening):
            self._heard_at = now
        return action

    # Rules.

    def _weigh_end(self, delta: bytes, now: float, facts: JournalFacts) -> Action:
        then: Verdict | AwaitInput
        if facts.error is not None:
            then = failed(FailureReason.UPSTREAM_ERROR, facts.error.message, delta=delta)
        elif self._endpoint_gave_up:
            return self._ask(now, _ENDED_EARLY)
        elif facts.awaiting_input:
            then = AwaitInput()
        elif self._polled:
            return self._ask(now, _ENDED_EARLY, delta)
        else:
            then = Verdict(Outcome.COMPLETED, delta=delta)
        shown = facts.files_known and not facts.files_unread
        return then if shown else self._ask_files(then, now, delta)

    def _end_with_error(self, now: float, message: str, *, gap: bool) -> Action:
        """An `error` frame came, and no `end` behind it: the stream is over all the same."""
        return self._ask_files(failed(FailureReason.UPSTREAM_ERROR, message, gap=gap), now)

    def _weigh_last_files(
        self, question: AskFiles, answer: StateAnswer, now: float, facts: JournalFacts
    ) -> Action:
        then = question.then
        over = answer if isinstance(answer, RuntimeState) and answer.status in _OVER else None
        if over is None and now < question.grace_ends_at:
            return self._ask_again(question, now)
        files = over.files or None if over else None
        succeeds = isinstance(then, Verdict) and then.outcome is Outcome.COMPLETED
        if over is not None and over.status == "failed" and (succeeds or isinstance(then, AwaitInput)):
            gap = not question.delta and self._may_have_missed_frames()
            return failed(
                FailureReason.UPSTREAM_ERROR, _why(over), delta=question.delta, gap=gap, files=files
            )
        if files or not succeeds:
            return replace(then, files=files)
        if facts.epoch > 1 and not facts.files_known and (facts.files_seen or not facts.state_shown):
            message = "the run ended, but frames were lost, and with them perhaps its last files"
            return failed(FailureReason.UPSTREAM_LOST, message, delta=question.delta)
        return then

    def _weigh_state(
        self, question: AskState, answer: StateAnswer, now: float, facts: JournalFacts
    ) -> Action:
        match answer:
            case NoAnswer():
                return question.undecided
            case None:
                return self._weigh_unknown_thread(question, now, facts)
        self._unknown_answers = 0
        if answer.status not in _OVER:
            return question.undecided
        if self._is_read_again(question, answer, facts) and self._stream_may_tell_more():
            return self._read_again(question, now)
        gap = not question.delta and self._may_have_missed_frames()
        files = answer.files or None
        if answer.status == "failed":
            return failed(
                FailureReason.UPSTREAM_ERROR, _why(answer), delta=question.delta, gap=gap, files=files
            )
        if files is None:
            return self._weigh_empty_result(question, now, facts, gap=gap)
        if facts.awaiting_input:
            return AwaitInput(files)
        return Verdict(Outcome.COMPLETED, delta=question.delta, gap=gap, files=files)

    def _weigh_empty_result(
        self, question: AskState, now: float, facts: JournalFacts, *, gap: bool
    ) -> Action:
        """The state says `completed` and shows no file, as it may about every run that has begun."""
        if isinstance(question.undecided, KeepListening):
            return self._weigh_silence(now, facts, gap=gap)
        if facts.awaiting_input:
            return AwaitInput()
        if now < question.grace_ends_at:
            # After a poll summary there are no frames to wait for meanwhile.
            return self._ask_again(question, now) if question.delta else question.undecided
        if not facts.has_files:
            message = "the runtime says that the run completed, but shows no file"
            return failed(FailureReason.EMPTY_RESULT, message, delta=question.delta, gap=gap)
        if question.delta and facts.files_known:
            return Verdict(Outcome.COMPLETED, delta=question.delta)
        message = "frames may be lost, and the runtime says that the run completed, but shows no file"
        return failed(FailureReason.UPSTREAM_LOST, message, delta=question.delta, gap=gap)

    def _weigh_silence(self, now: float, facts: JournalFacts, *, gap: bool) -> Action:
        """The same, while the stream is open: it has the `end` of a success still to come."""
        if self._quiet_since is None or now - self._quiet_since < self._limits.silent_s:
            return KeepListening()
        if facts.awaiting_input:
            return AwaitInput()
        quiet_s = now - self._quiet_since
        if self.from_first_frame:
            message = f"the runtime sent no end and nothing else for {quiet_s:.0f} s"
            return failed(FailureReason.UPSTREAM_SILENT, message, gap=gap)
        message = f"frames were lost, and the runtime sent nothing more for {quiet_s:.0f} s"
        return failed(FailureReason.UPSTREAM_LOST, message, gap=gap)

    def _weigh_unknown_thread(self, question: AskState, now: float, facts: JournalFacts) -> Action:
        self._unknown_answers += 1
        if self._unknown_answers <= self._limits.max_unknown_thread_answers:
            return self._ask_again(question, now)
        if self._stream_may_tell_more():
            return self._read_again(question, now) if self._replays(facts) else question.undecided
        if facts.awaiting_input:
            return AwaitInput()
        return failed(FailureReason.UPSTREAM_LOST, "the runtime no longer knows the run")

    def _replays(self, facts: JournalFacts) -> bool:
        """Whether another connection continues after the last frame, and so gives what a state does not."""
        profile = self._limits.profile
        return profile == "ids" or (profile == "full" and facts.epoch == 1)

    def _is_read_again(self, question: AskState, answer: RuntimeState, facts: JournalFacts) -> bool:
        """Whether the stream is read again before this state of a run that is over decides."""
        return self._replays(facts)

    # Steps.

    def _ask(
        self, now: float, undecided: Connect | KeepListening | LeaveConnection, delta: bytes = b""
    ) -> AskState:
        if self._first_asked_at is None:
            self._first_asked_at = now
        return AskState(undecided, self._first_asked_at + self._limits.empty_result_grace_s, delta)

    def _ask_files(self, then: Verdict | AwaitInput, now: float, delta: bytes = b"") -> AskFiles:
        return AskFiles(then, now + self._limits.empty_result_grace_s, delta)

    def _ask_again(self, question: Question, now: float) -> Question:
        grace_left_s = max(question.grace_ends_at - now, 0.01)
        return replace(question, after_s=min(self._limits.state_poll_s, grace_left_s))

    def _reconnect(self, now: float) -> Connect:
        return Connect(self._backoff.next_pause_s(now))

    def _keep(self, action: Action) -> Action:
        if isinstance(action, Verdict):
            self._verdict = action
        return action

    # What differs between the two kinds of streams.

    @abstractmethod
    def _weigh_loss(self, now: float) -> Action:
        """The connection broke, was left, or could not be opened."""

    @abstractmethod
    def _read_again(self, question: AskState, now: float) -> Action:
        """A stream that replays may have more than came."""

    @abstractmethod
    def _may_have_missed_frames(self) -> bool:
        """Whether the runtime may have sent frames after the last one that came."""


def _why(state: RuntimeState) -> str:
    """Why a state is failed."""
    return state.error or "the runtime says that the run failed"
