"""Waiting out an outage, and doing something at intervals: by an injected clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import DatabaseUnavailable
from server.domain.retry import Backoff, every, retry_while_unavailable


class Enough(Exception):
    """The test has seen enough."""


class RecordingClock:
    """Sleeps at once, and remembers for how long; raises Enough after `naps` of them."""

    def __init__(self, naps: int = 1000) -> None:
        self.slept: list[float] = []
        self._naps = naps

    def now(self) -> datetime:
        return datetime(2025, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        if len(self.slept) == self._naps:
            raise Enough
        self.slept.append(seconds)
        await asyncio.sleep(0)


def never() -> float:
    return 0.0


async def test_a_call_that_succeeds_is_made_once_without_a_pause() -> None:
    clock = RecordingClock()

    async def answer() -> int:
        return 7

    assert await retry_while_unavailable(answer, clock, first_s=1, max_s=2) == 7
    assert clock.slept == []


async def test_pauses_double_up_to_the_longest() -> None:
    clock = RecordingClock()
    left = 5

    async def answer() -> str:
        nonlocal left
        left -= 1
        if left:
            raise DatabaseUnavailable
        return "done"

    assert await retry_while_unavailable(answer, clock, first_s=0.1, max_s=0.5, jitter=never) == "done"
    assert clock.slept == [0.1, 0.2, 0.4, 0.5]


async def test_another_error_is_raised_at_once() -> None:
    clock = RecordingClock()

    async def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await retry_while_unavailable(fail, clock, first_s=1, max_s=1)
    assert clock.slept == []


@given(first_s=st.floats(0.001, 10), factor=st.floats(1, 100), draws=st.lists(st.floats(0, 1), max_size=20))
def test_jitter_shortens_a_pause_by_half_at_most(first_s: float, factor: float, draws: list[float]) -> None:
    numbers = iter(draws)
    max_s = first_s * factor
    jittered = Backoff(first_s, max_s, jitter=lambda: next(numbers))
    plain = Backoff(first_s, max_s, jitter=never)
    for _ in draws:
        longest = plain.next_pause_s()
        assert longest / 2 <= jittered.next_pause_s() <= longest <= max_s


def test_a_success_resets_the_pauses() -> None:
    backoff = Backoff(1, 8, jitter=never)
    assert [backoff.next_pause_s() for _ in range(5)] == [1, 2, 4, 8, 8]
    backoff.reset()
    assert backoff.next_pause_s() == 1


@pytest.mark.parametrize(("immediately", "calls"), [(False, 3), (True, 4)])
async def test_a_periodic_call_is_made_after_each_interval_and_on_demand_before_the_first(
    immediately: bool, calls: int
) -> None:
    clock = RecordingClock(naps=3)
    made: list[float] = []

    async def note() -> None:
        made.append(clock.monotonic())

    with pytest.raises(Enough):
        await every(10, note, clock, immediately=immediately)
    assert made == [0, 10, 20, 30][-calls:]


async def test_a_periodic_call_goes_on_when_the_database_is_away() -> None:
    clock = RecordingClock(naps=3)
    made = 0

    async def fail() -> None:
        nonlocal made
        made += 1
        raise DatabaseUnavailable

    with pytest.raises(Enough):
        await every(1, fail, clock)
    assert made == 3


async def test_a_periodic_call_ends_with_any_other_error() -> None:
    async def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await every(1, fail, RecordingClock())


async def test_an_interval_may_change_between_calls() -> None:
    clock = RecordingClock(naps=3)
    intervals = iter([1.0, 5.0, 2.0, 9.0])

    async def nothing() -> None:
        """Do nothing."""

    with pytest.raises(Enough):
        await every(lambda: next(intervals), nothing, clock)
    assert clock.slept == [1, 5, 2]
