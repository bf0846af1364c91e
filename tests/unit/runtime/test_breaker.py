"""The breaker's rules, each by itself, on a clock that the test sets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.runtime.breaker import Breaker, BreakerCounts


@dataclass
class TimedBreaker:
    now: float = 1000.0
    breaker: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self.breaker = Breaker(lambda: self.now)

    def answered(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.succeeded(self.breaker.admit())

    def broken(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.failed(self.breaker.admit())

    def refusal(self) -> RuntimeUnavailable:
        with pytest.raises(RuntimeUnavailable) as refused:
            self.breaker.admit()
        assert not refused.value.sent
        return refused.value

    def half_open(self, failures: int = 6) -> None:
        self.broken(failures)
        self.now += 30.01
        assert self.breaker.state == "half_open"


@pytest.fixture
def on() -> TimedBreaker:
    return TimedBreaker()


def test_it_has_the_contracts_name_and_begins_closed(on: TimedBreaker) -> None:
    assert (on.breaker.name, on.breaker.state, on.breaker.counts) == (
        "deepagents-runtime",
        "closed",
        BreakerCounts(),
    )


@pytest.mark.parametrize(("failures", "state"), [(5, "closed"), (6, "open")])
def test_more_than_five_failures_in_a_row_trip_it(on: TimedBreaker, failures: int, state: str) -> None:
    on.broken(failures)
    assert on.breaker.state == state


def test_a_success_resets_the_count_of_failures(on: TimedBreaker) -> None:
    on.broken(5)
    on.answered()
    on.broken(5)
    assert on.breaker.state == "closed"
    assert on.breaker.counts == BreakerCounts(11, 1, 10, 0, 5)


@pytest.mark.parametrize(("pause_s", "counted"), [(60.0, 5), (60.01, 0)])
def test_the_closed_state_forgets_its_counts_each_interval(
    on: TimedBreaker, pause_s: float, counted: int
) -> None:
    on.broken(5)
    on.now += pause_s
    assert on.breaker.counts.failures_in_a_row == counted


def test_failures_on_both_sides_of_an_interval_do_not_add_up(on: TimedBreaker) -> None:
    on.broken(5)
    on.now += 61
    on.broken(5)
    assert on.breaker.state == "closed"


@pytest.mark.parametrize(("pause_s", "state"), [(29.0, "open"), (30.0, "open"), (30.01, "half_open")])
def test_it_stays_open_for_its_time(on: TimedBreaker, pause_s: float, state: str) -> None:
    on.broken(6)
    on.now += pause_s
    assert on.breaker.state == state


@pytest.mark.parametrize(
    ("pause_s", "retry_after_s"), [(0.0, 30), (0.5, 30), (1.0, 29), (28.7, 2), (29.5, 1), (30.0, 1)]
)
def test_an_open_breaker_gives_the_whole_seconds_that_are_left(
    on: TimedBreaker, pause_s: float, retry_after_s: int
) -> None:
    on.broken(6)
    on.now += pause_s
    assert on.refusal().retry_after_s == retry_after_s


def test_what_it_refused_does_not_prolong_it(on: TimedBreaker) -> None:
    on.broken(6)
    on.now += 29
    on.refusal()
    on.now += 1.01
    assert on.breaker.state == "half_open"


def test_half_open_it_lets_three_in_and_refuses_the_fourth(on: TimedBreaker) -> None:
    on.half_open()
    for _ in range(3):
        on.breaker.admit()
    assert on.refusal().retry_after_s == 1


def test_three_successes_in_a_row_close_it(on: TimedBreaker) -> None:
    on.half_open()
    on.answered(2)
    assert on.breaker.state == "half_open"
    on.answered()
    assert (on.breaker.state, on.breaker.counts) == ("closed", BreakerCounts())


@pytest.mark.parametrize("successes", [0, 1, 2])
def test_one_failure_opens_it_again_for_its_whole_time(on: TimedBreaker, successes: int) -> None:
    on.half_open()
    on.answered(successes)
    on.broken()
    assert on.breaker.state == "open"
    assert on.refusal().retry_after_s == 30


def test_outcomes_of_an_older_generation_do_not_count(on: TimedBreaker) -> None:
    early = [on.breaker.admit() for _ in range(8)]
    on.broken(6)
    on.breaker.succeeded(early[0])
    assert on.breaker.state == "open"
    on.now += 31
    on.breaker.failed(early[1])
    on.breaker.withdrawn(early[2])
    assert (on.breaker.state, on.breaker.counts) == ("half_open", BreakerCounts())
    on.answered(3)
    for generation in early[3:]:
        on.breaker.failed(generation)
    assert on.breaker.counts == BreakerCounts()


def test_an_outcome_after_the_interval_does_not_count(on: TimedBreaker) -> None:
    early = on.breaker.admit()
    on.now += 61
    on.breaker.failed(early)
    assert on.breaker.counts == BreakerCounts()


def test_a_call_that_was_given_up_counts_as_neither_and_frees_its_place(on: TimedBreaker) -> None:
    on.half_open()
    calls = [on.breaker.admit() for _ in range(3)]
    on.breaker.withdrawn(calls[0])
    on.answered()
    on.breaker.succeeded(calls[1])
    assert on.breaker.state == "half_open"
    on.breaker.succeeded(calls[2])
    assert on.breaker.state == "closed"


def test_a_look_takes_no_place(on: TimedBreaker) -> None:
    on.half_open()
    for _ in range(10):
        on.breaker.check()
    assert on.breaker.counts.requests == 0
    on.answered(3)
    assert on.breaker.state == "closed"


def test_a_look_says_what_a_call_would_hear(on: TimedBreaker) -> None:
    on.broken(6)
    with pytest.raises(RuntimeUnavailable):
        on.breaker.check()
    on.now += 31
    on.breaker.check()
    for _ in range(3):
        on.breaker.admit()
    with pytest.raises(RuntimeUnavailable):
        on.breaker.check()


@pytest.mark.parametrize(
    ("raised", "counts"),
    [
        (None, BreakerCounts(1, 1, 0, 1, 0)),
        (RuntimeRefused("no", status=404), BreakerCounts(1, 1, 0, 1, 0)),
        (RuntimeRefused("no", status=422), BreakerCounts(1, 1, 0, 1, 0)),
        (RuntimeRefused("not ours", status=200), BreakerCounts(1, 1, 0, 1, 0)),
        (RuntimeRefused("no", status=500), BreakerCounts(1, 0, 1, 0, 1)),
        (RuntimeRefused("no", status=503), BreakerCounts(1, 0, 1, 0, 1)),
        (RuntimeUnavailable("no", sent=False), BreakerCounts(1, 0, 1, 0, 1)),
        (RuntimeUnavailable("late"), BreakerCounts(1, 0, 1, 0, 1)),
        (ValueError("a fault"), BreakerCounts(1, 0, 1, 0, 1)),
        (asyncio.CancelledError(), BreakerCounts()),
        (KeyboardInterrupt(), BreakerCounts()),
    ],
    ids=repr,
)
def test_what_a_call_raises_is_its_outcome(
    on: TimedBreaker, raised: BaseException | None, counts: BreakerCounts
) -> None:
    def call() -> None:
        with on.breaker.attempt():
            if raised is not None:
                raise raised

    if raised is None:
        call()
    else:
        with pytest.raises(type(raised)):
            call()
    assert on.breaker.counts == counts


def test_a_refused_call_is_not_made(on: TimedBreaker) -> None:
    on.broken(6)
    with pytest.raises(RuntimeUnavailable), on.breaker.attempt():
        pytest.fail("the call was made")
    assert on.breaker.counts == BreakerCounts()


# --- Threads -----------------------------------------------------------------------------------------


def _call(on: TimedBreaker, thread_id: str | None, error: Exception | None = None) -> None:
    try:
        with on.breaker.attempt(thread_id):
            if error is not None:
                raise error
    except (RuntimeRefused, RuntimeUnavailable) as raised:
        if raised is not error:
            raise


BROKEN = RuntimeRefused("HTTP 500", status=500)
SILENT = RuntimeUnavailable("no answer")
AWAY = RuntimeUnavailable("not reached", sent=False)


@pytest.mark.parametrize("error", [BROKEN, SILENT])
def test_failures_of_one_thread_count_once(on: TimedBreaker, error: Exception) -> None:
    for _ in range(50):
        _call(on, "a", error)
    assert (on.breaker.state, on.breaker.counts.failures_in_a_row) == ("closed", 1)


@pytest.mark.parametrize("error", [BROKEN, SILENT])
def test_failures_of_six_threads_trip_it(on: TimedBreaker, error: Exception) -> None:
    for thread_id in "aabbccddee":
        _call(on, thread_id, error)
    assert on.breaker.state == "closed"
    _call(on, "f", error)
    assert on.breaker.state == "open"


def test_a_runtime_that_is_not_reached_is_not_the_fault_of_a_thread(on: TimedBreaker) -> None:
    for _ in range(6):
        _call(on, "a", AWAY)
    assert on.breaker.state == "open"


def test_calls_about_no_thread_count_each(on: TimedBreaker) -> None:
    for _ in range(6):
        _call(on, None, BROKEN)
    assert on.breaker.state == "open"


def test_a_thread_counts_again_after_a_call_about_it_succeeded(on: TimedBreaker) -> None:
    for number in range(3):
        _call(on, "a", BROKEN)
        assert on.breaker.counts.failures == number + 1
        _call(on, "a")


def test_a_thread_that_failed_before_neither_opens_nor_blocks_the_half_open_state(on: TimedBreaker) -> None:
    _call(on, "a", BROKEN)
    on.half_open(failures=5)
    for _ in range(10):
        _call(on, "a", BROKEN)
    assert (on.breaker.state, on.breaker.counts.requests) == ("half_open", 0)
    for _ in range(3):
        _call(on, None)
    assert on.breaker.state == "closed"


def test_a_call_of_any_other_thread_decides_the_half_open_state(on: TimedBreaker) -> None:
    _call(on, "a", BROKEN)
    on.half_open(failures=5)
    _call(on, "b", BROKEN)
    assert on.breaker.state == "open"


def test_the_failing_threads_that_are_remembered_are_bounded(on: TimedBreaker) -> None:
    for number in range(12_000):
        on.breaker.failed(on.breaker._generation, str(number))
    assert len(on.breaker._failing) == 10_000
