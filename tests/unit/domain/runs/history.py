"""Histories of a run, played to the rules of its verdict with a clock that only the history moves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from server.domain.proposals.files import File
from server.domain.runs.actions import (
    Action,
    AskFiles,
    AskState,
    Connect,
    JournalFacts,
    KeepListening,
    LeaveConnection,
    NoAnswer,
    StateAnswer,
    Verdict,
)
from server.domain.runs.limits import RunLimits
from server.domain.runs.runtime import Interpretation, RuntimeState, UpstreamError
from server.domain.runs.stream_verdicts import verdict_rules_for

LIMITS = RunLimits()
END_DELTA = b"delta of the end"
NOTHING = JournalFacts()


def files(**contents: str) -> dict[str, File]:
    """A file map with a file for each name."""
    return {f"/{name}": File(text.encode()) for name, text in contents.items()}


# --- What happens ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """A frame that is journalled. shows: a state frame with (True) or without (False) files; None: none.

    map_read: it has a file map, which can be read. unread: it has one that cannot, or an entry of it cannot.
    asks: it asks a person. gap: a discontinuity comes before it. old: the epoch before has it too.
    """

    shows: bool | None = None
    map_read: bool = True
    unread: bool = False
    asks: bool = False
    polled: bool = False
    error: UpstreamError | None = None
    gap: bool = False
    old: bool = False


@dataclass(frozen=True)
class Repeat:
    """A journalled frame comes again and is dropped."""


@dataclass(frozen=True)
class End:
    """The `end` frame. gap: a discontinuity comes before it."""

    gap: bool = False


@dataclass(frozen=True)
class Break:
    """The connection breaks, or cannot be opened."""

    opened: bool = True


@dataclass(frozen=True)
class Silence:
    """No frame comes until the connection is idle. caught_up: all that is journalled has come again.

    opened: whether the connection is open by then, if it was not before.
    """

    caught_up: bool = True
    opened: bool = True


@dataclass(frozen=True)
class Says:
    """The runtime's answer to a question, `times` times in a row."""

    answer: StateAnswer
    times: int = 1


@dataclass(frozen=True)
class Passes:
    """Time passes."""

    seconds: float


Step: TypeAlias = Frame | Repeat | End | Break | Silence | Says | Passes

RUNNING = RuntimeState("running")
FAILED = RuntimeState("failed", error="it broke")
EMPTY = RuntimeState("completed")
UNKNOWN = None
AWAY = NoAnswer()


def completed(**contents: str) -> RuntimeState:
    """A completed run with files."""
    return RuntimeState("completed", files(**contents))


# --- Playing it --------------------------------------------------------------------------------


@dataclass
class Run:
    """A run on a stream of one kind, driven as the driver does it, without its I/O."""

    push_only: bool = False
    from_first_frame: bool = True
    limits: RunLimits = LIMITS
    facts: JournalFacts = NOTHING
    now: float = 1000.0
    #: Every action that the rules answered.
    actions: list[Action] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.verdicts = verdict_rules_for(
            self.limits, push_only=self.push_only, from_first_frame=self.from_first_frame
        )
        self.action = self.verdicts.start(self.now, self.facts)
        self._next()

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, if there is one."""
        return self.action if isinstance(self.action, Verdict) else None

    def play(self, steps: Iterable[Step]) -> Action:
        """Let the steps happen; a step that does not fit the action fails the test."""
        for step in steps:
            assert self.fits(step), (step, self.action)
            self.step(step)
        return self.action

    def fits(self, step: Step) -> bool:
        """Whether the step can happen now."""
        if isinstance(step, Passes):
            return True
        if isinstance(step, Says):
            return isinstance(self.action, AskState | AskFiles)
        if isinstance(step, Break):
            # A stream may also break while the state is asked: the answer comes first then.
            return isinstance(self.action, Connect | KeepListening)
        return isinstance(self.action, Connect | KeepListening) or (
            # Only on a channel, frames come while the state is asked.
            isinstance(self.action, AskState)
            and isinstance(self.action.undecided, KeepListening)
            and not isinstance(step, Silence)
        )

    def step(self, step: Step) -> None:
        """Let one step happen."""
        match step:
            case Passes(seconds):
                self.now += seconds
            case Says(answer, times):
                for _ in range(times):
                    self._answer(answer)
            case Break(opened):
                self._open(opened=opened)
                self._act(LeaveConnection("it broke"))
            case Silence(caught_up, opened):
                self._open(opened=opened)
                self.now = max(self.now, self.verdicts.idle_at)
                self._act(self.verdicts.idle(self.now, self.facts, caught_up=caught_up))
            case Repeat():
                self._open()
                self.verdicts.heard(self.now)
            case Frame():
                self._open()
                self._frame(step)
            case End(gap):
                self._open()
                self._frame(Frame(gap=gap), end=True)
                self._act(self.verdicts.ended(END_DELTA, self.now, self.facts))

    def _open(self, *, opened: bool = True) -> None:
        if isinstance(self.action, Connect):
            self.now += self.action.after_s
            self.verdicts.connecting(self.now)
            if opened:
                self.verdicts.connected(self.now)
            self._act(KeepListening())

    def _frame(self, frame: Frame, *, end: bool = False) -> None:
        self.verdicts.heard(self.now)
        facts = self.facts
        if frame.gap:
            facts = replace(facts, epoch=facts.epoch + 1, state_shown=False, files_shown=False)
        meaning = Interpretation(error=frame.error, end=end, polled=frame.polled)
        self.verdicts.frame(meaning, is_new=not frame.old)
        if frame.error is not None and not frame.error.of_endpoint:
            facts = replace(facts, error=frame.error)
        if frame.shows is not None:
            facts = replace(facts, state_shown=True, awaiting_input=facts.awaiting_input or frame.asks)
            if frame.map_read and not frame.polled:
                facts = replace(
                    facts,
                    has_files=frame.shows or frame.unread,
                    files_seen=True,
                    files_shown=True,
                    files_unread=frame.unread,
                )
            elif frame.unread:
                facts = replace(facts, files_unread=True)
        self.facts = facts

    def _answer(self, answer: StateAnswer) -> None:
        question: Any = self.action
        assert isinstance(question, AskState | AskFiles), question
        self.now += question.after_s
        self._act(self.verdicts.answered(question, answer, self.now, self.facts))

    def _act(self, action: Action) -> None:
        self.action = action
        self._next()

    def _next(self) -> None:
        self.actions.append(self.action)
        if isinstance(self.action, LeaveConnection):
            self._act(self.verdicts.lost(self.now, self.facts))
