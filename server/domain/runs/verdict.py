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
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

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
from server.domain.runs.runtime import ENDPOINT_TIMEOUT, Interpretation, RuntimeState, UpstreamError

_ENDED_EARLY: Final = LeaveConnection("the runtime ended its stream before the run was over")


def failed(
    reason: FailureReason,
    message: str,
    *,
    delta: bytes = b"",
    gap: bool = False,
    files: Mapping[str, File] | None = None,
) -> Verdict:
    """A verdict of failure, for every reason that a run can fail for."""
    return Verdict(Outcome.FAILED, reason.value, message, delta, gap, files)


CANCELLED: Final = Verdict(Outcome.CANCELLED, FailureReason.CANCELLED.value, "the run was cancelled")
INTERNAL_FAULT: Final = failed(FailureReason.INTERNAL, "a fault of the hub ended the run")


def crash_loop(takeovers: int, limits: RunLimits) -> Verdict | None:
    """The verdict on a run that too many replicas in a row lost; None while another may try."""
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
    return failed(FailureReason.DEADLINE_EXCEEDED, f"the run took longer than {limit}")


class VerdictRules(ABC):
    """The rules of one run under one lease. Once given, a verdict stays.

    from_first_frame: the first connection gives the run from its first frame on. Times are monotonic
    seconds.
    """

    def __init__(self, limits: RunLimits, *, from_first_frame: bool) -> None:
        self._limits = limits
        self._from_first_frame = from_first_frame
        self._connections = 0
        #: When the runtime was last heard or asked, and since when the open stream has brought no frame
        #: (None while it is not open).
        self._heard_at = 0.0
        self._quiet_since: float | None = None
        #: The error frame that came last on this connection.
        self._error: UpstreamError | None = None
        #: Whether the last frame on this connection was a poll summary (`Interpretation.polled`).
        self._polled = False
        #: When the state was first asked since the last new frame.
        self._first_asked_at: float | None = None
        #: Answers of "unknown thread" since the last other answer or new frame. A failed question does
        #: not reset the count, or repeated faults would put the verdict off for ever.
        self._unknown_answers = 0
        #: Whether a new frame came since a state was last about to decide.
        self._saw_new_frame = True
        #: Connections in a row that broke without a new frame.
        self._fruitless_reconnects = 0
        #: Whether the last connection repeated every journalled frame and then was silent.
        self._was_idle = False
        self._verdict: Verdict | None = None

    # Reports.

    def start(self, facts: JournalFacts) -> Action:
        """The runtime has the job."""
        return AwaitInput() if facts.awaiting_input else Connect()

    def connecting(self, now: float) -> None:
        """A connection is being opened."""
        self._connections += 1
        self._error, self._polled, self._was_idle = None, False, False
        self._heard_at, self._quiet_since = now, None

    def connected(self, now: float) -> None:
        """The connection is open."""
        self._quiet_since = now

    def heard(self, now: float) -> None:
        """A frame came, of whatever kind."""
        self._heard_at = self._quiet_since = now

    def repeated(self, error: UpstreamError | None) -> None:
        """A journalled frame came again, with the error that it reports: that is no less an error."""
        self._error = error or self._error

    def frame(self, meaning: Interpretation, *, is_new: bool) -> None:
        """A frame is about to be journalled. `is_new`: the epoch before does not have it."""
        if is_new:
            self._first_asked_at, self._saw_new_frame, self._unknown_answers = None, True, 0
        self._error = meaning.error or self._error
        if not meaning.end:
            self._polled = meaning.polled

    def ended(self, delta: bytes, now: float, facts: JournalFacts) -> Action:
        """The connection's `end` frame came."""
        return self._verdict or self._keep(self._weigh_end(delta, now, facts))

    def idle(self, now: float, *, caught_up: bool) -> Action:
        """`idle_at` may have passed. `caught_up`: as in `Alignment`."""
        if self._verdict is None and now < self.idle_at:
            # A frame came meanwhile.
            return KeepListening()
        return self._verdict or self._weigh_idle(now, caught_up=caught_up)

    def lost(self, now: float) -> Action:
        """The connection was left, or could not be opened."""
        return self._verdict or self._weigh_loss(now)

    def answered(
        self, question: AskState | AskFiles, answer: StateAnswer, now: float, facts: JournalFacts
    ) -> Action:
        """The runtime's answer to a question."""
        if self._verdict is not None:
            return self._verdict
        if isinstance(question, AskFiles):
            return self._keep(self._weigh_last_files(question, answer, facts))
        action = self._keep(self._weigh_state(question, answer, now, facts))
        if isinstance(action, KeepListening):
            self._heard_at = now
        return action

    @property
    def from_first_frame(self) -> bool:
        """Whether this connection gives the run from its first frame on."""
        return self._from_first_frame and self._connections == 1

    @property
    def idle_at(self) -> float:
        """The time at which `idle` is due while the open connection brings no frame."""
        return self._heard_at + self._limits.idle_s

    # Rules.

    def _weigh_end(self, delta: bytes, now: float, facts: JournalFacts) -> Action:
        if self._error is not None and self._error.context == ENDPOINT_TIMEOUT:
            return self._ask(now, _ENDED_EARLY)
        if self._error is not None:
            return failed(FailureReason.UPSTREAM_ERROR, self._error.message, delta=delta)
        if facts.awaiting_input:
            return AwaitInput()
        if self._polled:
            return self._ask(now, _ENDED_EARLY, delta)
        if facts.epoch > 1:
            # The last file map may have been among the frames that were missed.
            return AskFiles(delta)
        return Verdict(Outcome.COMPLETED, delta=delta)

    def _weigh_last_files(self, question: AskFiles, answer: StateAnswer, facts: JournalFacts) -> Verdict:
        completed = Verdict(Outcome.COMPLETED, delta=question.delta)
        if isinstance(answer, RuntimeState) and answer.status == "completed" and answer.files:
            return replace(completed, files=answer.files)
        return self._without_last_files(completed, facts)

    def _weigh_state(
        self, question: AskState, answer: StateAnswer, now: float, facts: JournalFacts
    ) -> Action:
        match answer:
            case NoAnswer():
                return question.undecided
            case None:
                return self._weigh_unknown_thread(question, now)
        self._unknown_answers = 0
        if answer.status not in ("completed", "failed"):
            return question.undecided
        if self._replays(facts) and self._stream_may_tell_more():
            return question.undecided
        gap = not question.delta and self._may_have_missed_frames()
        if answer.status == "failed":
            message = answer.error or "the runtime says that the run failed"
            # A file map that the stream showed is newer than that of a failed state.
            files = None if facts.has_files else answer.files or None
            return failed(FailureReason.UPSTREAM_ERROR, message, gap=gap, files=files)
        if answer.files:
            return Verdict(Outcome.COMPLETED, delta=question.delta, gap=gap, files=answer.files)
        return self._weigh_empty_result(question, now, facts, gap=gap)

    def _weigh_unknown_thread(self, question: AskState, now: float) -> Action:
        self._unknown_answers += 1
        if self._unknown_answers <= self._limits.max_unknown_thread_answers:
            return self._ask_again(question, now)
        if self._stream_may_tell_more():
            return question.undecided
        return failed(FailureReason.UPSTREAM_LOST, "the runtime no longer knows the run")

    def _replays(self, facts: JournalFacts) -> bool:
        """Whether another connection continues after the last frame, and so gives what a state does not."""
        profile = self._limits.profile
        return profile == "ids" or (profile == "full" and facts.epoch == 1)

    def _stream_may_tell_more(self) -> bool:
        """Whether to read the stream once more before a state decides: it brought a new frame since this
        was last asked, or it broke before it was silent, and that not too often in a row."""
        saw_new_frame, self._saw_new_frame = self._saw_new_frame, False
        self._fruitless_reconnects = 0 if saw_new_frame else self._fruitless_reconnects + 1
        if self._was_idle:
            return saw_new_frame
        return self._fruitless_reconnects < self._limits.max_fruitless_reconnects

    # Helpers.

    def _ask(
        self, now: float, undecided: Connect | KeepListening | LeaveConnection, delta: bytes = b""
    ) -> AskState:
        if self._first_asked_at is None:
            self._first_asked_at = now
        return AskState(undecided, self._first_asked_at + self._limits.empty_result_grace_s, delta)

    def _ask_again(self, question: AskState, now: float) -> AskState:
        grace_left_s = max(question.grace_ends_at - now, 0.01)
        return replace(question, after_s=min(self._limits.state_poll_s, grace_left_s))

    def _reconnect(self) -> Connect:
        limits = self._limits
        # The exponent is bounded: a float has no room for any more doublings.
        pause_s = limits.reconnect_first_s * 2 ** min(self._connections - 1, 64)
        return Connect(min(pause_s, limits.max_reconnect_s))

    def _keep(self, action: Action) -> Action:
        if isinstance(action, Verdict):
            self._verdict = action
        return action

    # What differs between the two kinds of streams.

    @abstractmethod
    def _weigh_idle(self, now: float, *, caught_up: bool) -> Action:
        """The open connection brought no frame for the idle time."""

    @abstractmethod
    def _weigh_loss(self, now: float) -> Action:
        """The connection broke, was left, or could not be opened."""

    @abstractmethod
    def _weigh_empty_result(
        self, question: AskState, now: float, facts: JournalFacts, *, gap: bool
    ) -> Action:
        """The state says `completed` and shows no file."""

    @abstractmethod
    def _without_last_files(self, completed: Verdict, facts: JournalFacts) -> Verdict:
        """The verdict on an `end` after a gap, when the state shows no files either."""

    @abstractmethod
    def _may_have_missed_frames(self) -> bool:
        """Whether the runtime may have sent frames after the last one that came."""
