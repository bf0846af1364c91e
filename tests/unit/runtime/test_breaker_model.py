"""The breaker against a model of gobreaker's rules that keeps a history and folds it anew each time."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from server.domain.errors import RuntimeUnavailable
from server.runtime.breaker import Breaker, BreakerCounts

INTERVAL, TIMEOUT, MOST, BORNE = 60, 30, 3, 5


@dataclass
class Period:
    """A span between two clearings: what came in, and the outcomes in their order."""

    kind: str
    since: float
    admitted: int = 0
    outcomes: list[bool] = field(default_factory=list)

    def row(self, good: bool) -> int:
        tail = 0
        for outcome in reversed(self.outcomes):
            if outcome is not good:
                break
            tail += 1
        return tail

    def successor(self, now: float) -> str | None:
        """The kind of period that must follow by now, if any."""
        if self.kind == "closed":
            if self.row(False) > BORNE:
                return "open"
            return "closed" if now > self.since + INTERVAL else None
        if self.kind == "open":
            return "half_open" if now > self.since + TIMEOUT else None
        if False in self.outcomes:
            return "open"
        return "closed" if len(self.outcomes) >= MOST else None


@dataclass
class Model:
    periods: list[Period] = field(default_factory=lambda: [Period("closed", 0.0)])

    def at(self, now: float) -> Period:
        kind = self.periods[-1].successor(now)
        if kind is not None:
            self.periods.append(Period(kind, now))
        return self.periods[-1]

    def admit(self, now: float) -> Period | None:
        period = self.at(now)
        if period.kind == "open" or (period.kind == "half_open" and period.admitted >= MOST):
            return None
        period.admitted += 1
        return period

    def settle(self, period: Period, good: bool | None, now: float) -> None:
        if self.at(now) is not period:
            return
        if good is None:
            period.admitted -= 1
        else:
            period.outcomes.append(good)
        self.at(now)


class Against(RuleBasedStateMachine):
    """Any order of calls, outcomes and time: the same state, the same counts, the same refusals."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker(lambda: self.now)
        self.model = Model()

    @rule(seconds=st.sampled_from([0.25, 1.0, 15.0, 29.75, 30.0, 30.25, 60.0, 60.25]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=calls)
    def a_call_begins(self) -> Any:
        period = self.model.admit(self.now)
        if period is not None:
            return self.breaker.admit(), period
        with pytest.raises(RuntimeUnavailable) as refused:
            self.breaker.admit()
        last = self.model.periods[-1]
        left = max(1, last.since + TIMEOUT - self.now if last.kind == "open" else 0)
        assert left <= (refused.value.retry_after_s or 0) < left + 1
        return None

    @rule(call=consumes(calls), good=st.sampled_from([True, False, False, None]))
    def a_call_ends(self, call: Any, good: bool | None) -> None:
        if call is None:
            return
        generation, period = call
        assert period is not None
        self.model.settle(period, good, self.now)
        tell = {True: self.breaker.succeeded, False: self.breaker.failed, None: self.breaker.withdrawn}[good]
        tell(generation)

    @rule(outcomes=st.lists(st.booleans() | st.just(False), min_size=1, max_size=8))
    def calls_one_after_the_other(self, outcomes: list[bool]) -> None:
        for good in outcomes:
            period = self.model.admit(self.now)
            if period is None:
                return
            generation = self.breaker.admit()
            self.model.settle(period, good, self.now)
            (self.breaker.succeeded if good else self.breaker.failed)(generation)

    @rule()
    def somebody_checks(self) -> None:
        period = self.model.at(self.now)
        refused = period.kind == "open" or (period.kind == "half_open" and period.admitted >= MOST)
        with pytest.raises(RuntimeUnavailable) if refused else nullcontext():
            self.breaker.check()

    @invariant()
    def they_agree(self) -> None:
        period = self.model.at(self.now)
        assert self.breaker.state == period.kind
        good = period.outcomes.count(True)
        bad = period.outcomes.count(False)
        expected = BreakerCounts(period.admitted, good, bad, period.row(True), period.row(False))
        assert self.breaker.counts == expected


TestAgainstTheModel = Against.TestCase
TestAgainstTheModel.settings = settings(max_examples=100, stateful_step_count=60)
