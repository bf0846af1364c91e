"""Ten thousand random histories of runs, over connections, states and takeovers, with real file maps.

A history follows what streams do: a connection of a runtime that does not replay begins behind a gap, one
that replays repeats what is journalled, and a run's next owner knows what the journal knows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import get_args

import pytest

from server.domain.journal.events import Outcome
from server.domain.proposals.files import File
from server.domain.runs.actions import (
    AskFiles,
    AskState,
    AwaitInput,
    Connect,
    JournalFacts,
    KeepListening,
    StateAnswer,
    Verdict,
)
from server.domain.runs.limits import Profile
from server.domain.runs.runtime import RuntimeState, UpstreamError
from server.domain.runs.verdict import overdue
from tests.unit.domain.runs.history import (
    AWAY,
    LIMITS,
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
)

HISTORIES, STEPS = 3_000, 60
ERROR = UpstreamError("it broke", "execution_failed")
GAVE_UP = UpstreamError("Execution timeout", "streaming_timeout")
Files = dict[str, File]


@dataclass
class History:
    """A run, and what the runtime showed of it. `done`: what happened, to be shown when a check fails."""

    random: Random
    push_only: bool
    profile: Profile
    done: list[Step | str] = field(default_factory=list)
    #: The last file map that could be read, None when there was none; whether a gap came after it.
    shown: Files | None = None
    gap_since: bool = False
    #: Whether the frames had a later one that could not be read, or not wholly.
    unread: bool = False
    error: bool = False
    asks: bool = False
    #: Whether the last connection brought an `end`, and whether the endpoint had given it up before.
    ended: bool = False
    given_up: bool = False
    answer: StateAnswer = AWAY
    version: int = 0

    def __post_init__(self) -> None:
        #: How likely a step is the run's end, and whether the runtime's state is the published one's.
        self.end_odds = self.random.choice([0.0, 0.02, 0.15])
        self.trouble_odds = self.random.choice([0.0, 0.03])
        self.lies = self.random.random() < 0.3
        self.run = self._lease(JournalFacts(), first=True)
        self.frames = 0
        #: Whether the connection, once it is open, has brought no frame yet.
        self.fresh = True

    def _lease(self, facts: JournalFacts, *, first: bool) -> Run:
        return Run(
            push_only=self.push_only,
            from_first_frame=first,
            limits=replace(LIMITS, profile=self.profile),
            facts=facts,
        )

    # What may happen.

    def step(self) -> None:
        """Let one thing happen that can."""
        action, chance = self.run.action, self.random.random()
        if chance < 0.04:
            self._take_over()
        elif isinstance(action, AskState | AskFiles) and (chance < 0.7 or not self.run.fits(Frame())):
            self._answer()
        elif isinstance(action, Connect | KeepListening | AskState):
            self._stream()

    def _take_over(self) -> None:
        self.done.append("takeover")
        facts = replace(self.run.facts, state_shown=False, files_shown=False)
        self.run = self._lease(facts, first=False)
        self.ended = False

    def _answer(self) -> None:
        if self.lies:
            self.answer = RuntimeState("completed", {})
            self._do(Says(self.answer))
            return
        status = self.random.choice(["running", "completed", "completed", "failed", "paused"])
        files = self._map() if self.random.random() < 0.4 else None
        answers: list[StateAnswer] = [RuntimeState(status, files or None, "it broke")] * 4 + [UNKNOWN, AWAY]
        self.answer = self.random.choice(answers)
        self._do(Says(self.answer))

    def _stream(self) -> None:
        if isinstance(self.run.action, Connect):
            self.fresh, self.ended, self.given_up = True, False, False
        step = self._arrival()
        if not self.run.fits(step):
            return
        if isinstance(step, Frame | End):
            if self.fresh and self.frames:
                if self._replays():
                    self._do(Repeat())
                else:
                    step = replace(step, gap=True)
            self.fresh = False
            self._note(step)
        self._do(step)

    def _replays(self) -> bool:
        return not self.push_only and (
            self.profile == "ids" or (self.profile == "full" and self.run.facts.epoch == 1)
        )

    def _arrival(self) -> Step:
        random, chance = self.random, self.random.random
        if chance() < self.end_odds:
            return End()
        if chance() < self.trouble_odds:
            return random.choice(
                [Frame(error=ERROR), Frame(error=GAVE_UP), Frame(shows=False, asks=True, map_read=False)]
            )
        arrivals: list[Step] = [
            Break(opened=chance() < 0.7),
            Silence(caught_up=chance() < 0.7),
            Silence(),
            Passes(random.choice([1.0, 31.0, 700.0])),
            Frame(shows=False, polled=True),
            Frame(shows=False, map_read=False, unread=chance() < 0.5),
            Frame(shows=True, unread=chance() < 0.5),
            Frame(shows=chance() < 0.7),
            Frame(),
        ]
        return random.choice(arrivals)

    def _map(self) -> Files:
        self.version += 1
        names = self.random.sample("abc", self.random.randint(1, 3))
        return {f"/{name}": File(str(self.version).encode()) for name in names}

    def _note(self, step: Frame | End) -> None:
        """What the frame shows, as a reader of the frames would see it."""
        self.frames += 1
        if step.gap:
            self.gap_since = True
        if isinstance(step, End):
            self.ended = not self.given_up
            return
        self.given_up = self.given_up or step.error is GAVE_UP
        self.error = self.error or step.error is ERROR
        self.asks = self.asks or step.asks
        if step.shows is not None and step.map_read and not step.polled:
            self.shown, self.gap_since = self._map() if step.shows else {}, False
            self.unread = step.unread
        elif step.unread:
            self.unread = True

    def _do(self, step: Step) -> None:
        self.done.append(step)
        self.run.step(step)

    # What must hold.

    def check(self) -> None:
        """Raise if the run ended, or stopped, as it must not."""
        action = self.run.action
        if isinstance(action, AwaitInput):
            assert self.asks
            assert not self.error
        if not isinstance(action, Verdict):
            return
        self._check_outcome(action)
        self._check_files(action)
        later = self.run.now + 10_000
        rules, facts = self.run.verdicts, replace(self.run.facts, error=ERROR, awaiting_input=True)
        assert rules.ended(b"another", later, facts) == rules.lost(later, facts) == action

    def _check_outcome(self, verdict: Verdict) -> None:
        if self.error:
            assert verdict.reason == "upstream_error"
        if self.asks:
            assert verdict.reason == "upstream_error"
        if verdict.outcome is Outcome.COMPLETED:
            said = self.answer if isinstance(self.answer, RuntimeState) else None
            assert verdict.files or self.ended
            assert verdict.files or not self.gap_since or self.shown is None
            # A run whose last files were not read has asked for them.
            if self.unread and verdict.files is None:
                assert isinstance(self.done[-1], Says)
                assert said is None or not said.files or said.status not in ("completed", "failed")
            if said is not None and said.status == "failed" and verdict.files is None:
                # Only a stream that lost nothing is believed more than a state that was asked before.
                assert self.shown is not None

    def _check_files(self, verdict: Verdict) -> None:
        shown = self.shown or {}
        asked = self.run.actions[-2]
        said = self.answer.files if isinstance(self.answer, RuntimeState) else None
        answered = isinstance(self.done[-1], Says) and isinstance(asked, AskState | AskFiles)
        settled = isinstance(self.answer, RuntimeState) and self.answer.status in ("completed", "failed")
        if answered and settled and said:
            assert verdict.files == said
        final = verdict.files if verdict.files is not None else shown
        if verdict.outcome is not Outcome.COMPLETED:
            final = {**shown, **(verdict.files or {})}
            assert shown.keys() <= final.keys()
        elif verdict.files is None:
            assert final == shown
        for path, file in (verdict.files or {}).items():
            assert final[path] == file


@pytest.mark.parametrize("push_only", [False, True], ids=["socket", "channel"])
def test_thousands_of_histories_end_with_one_verdict_or_an_open_question(push_only: bool) -> None:
    ends: dict[str, int] = {}
    for seed in range(HISTORIES // 2):
        random = Random(seed)
        history = History(random, push_only, random.choice(get_args(Profile)))
        try:
            for _ in range(STEPS):
                history.step()
                history.check()
                if isinstance(history.run.action, Verdict | AwaitInput):
                    break
            if not isinstance(history.run.action, Verdict):
                # Whatever is open ends with the run's time, as a failure.
                assert overdue(LIMITS, history.run.facts).outcome is Outcome.FAILED
        except AssertionError as error:
            raise AssertionError(
                f"history {seed} ({push_only=}, {history.profile}): {history.done}"
            ) from error
        action = history.run.action
        end = action.reason or "completed" if isinstance(action, Verdict) else type(action).__name__
        ends[end] = ends.get(end, 0) + 1
    # The histories are worth something: they reach every end that the rules have.
    rare = {"empty_result"} if push_only else set()
    expected = {
        "completed",
        "upstream_error",
        "upstream_lost",
        "upstream_silent",
        "empty_result",
        "AwaitInput",
    }
    assert expected - rare <= ends.keys(), ends
