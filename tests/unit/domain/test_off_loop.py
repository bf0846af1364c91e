"""Computations off the event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.off_loop import (
    LONG_S,
    MAX_REST_S,
    PART_BYTES,
    REST_FACTOR,
    SMALL_BYTES,
    OffLoop,
    rest_s,
    to_the_end,
)
from tests.support.hand_clock import PATIENCE_S, until


async def test_the_loop_goes_on_during_a_computation() -> None:
    asked, answered = threading.Event(), threading.Event()

    def compute() -> bool:
        asked.set()
        return answered.wait(PATIENCE_S)

    computing = asyncio.ensure_future(OffLoop("test").run(compute))
    await until(asked.is_set)
    answered.set()
    assert await computing


async def test_what_is_small_does_not_wait_for_what_is_large() -> None:
    beside, ended = OffLoop("test"), threading.Event()
    large = asyncio.ensure_future(beside.run_unless_small([SMALL_BYTES], ended.wait, PATIENCE_S))
    await asyncio.sleep(0)
    here = threading.get_ident()
    assert await beside.run_unless_small([], threading.get_ident) == here
    assert await beside.run_unless_small([SMALL_BYTES // 2, 0], threading.get_ident) == here
    assert not large.done()
    ended.set()
    assert await large


async def test_many_small_parts_are_large_and_not_all_looked_at() -> None:
    parts = iter([0] * SMALL_BYTES)
    assert await OffLoop("test").run_unless_small(parts, threading.get_ident) != threading.get_ident()
    assert len(list(parts)) > SMALL_BYTES - 2 * SMALL_BYTES // PART_BYTES


async def test_one_computation_at_a_time_without_the_collector() -> None:
    beside, running = OffLoop("test"), list[int]()

    def compute(number: int) -> tuple[int, list[int], bool]:
        running.append(number)
        seen = (number, list(running), gc.isenabled())
        running.remove(number)
        return seen

    found = await asyncio.gather(*(beside.run(compute, number) for number in range(20)))
    assert found == [(number, [number], False) for number in range(20)]
    assert gc.isenabled()


async def test_what_a_computation_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await OffLoop("test").run(lambda: 1 / 0)
    assert gc.isenabled()


async def test_a_cancellation_waits_for_work_that_goes_to_its_end() -> None:
    began, may_end, done = asyncio.Event(), asyncio.Event(), list[str]()

    async def work() -> None:
        began.set()
        await may_end.wait()
        done.append("work")

    async def caller() -> None:
        try:
            await to_the_end(work())
        finally:
            done.append("caller")

    calling = asyncio.ensure_future(caller())
    await began.wait()
    for _ in range(2):
        calling.cancel()
        await asyncio.sleep(0)
    assert done == []
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert done == ["work", "caller"]


async def test_a_timeout_around_work_that_goes_to_its_end_is_a_timeout() -> None:
    async def work() -> None:
        while not limit.expired():
            await asyncio.sleep(0.001)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01) as limit:
            await to_the_end(work())


@pytest.mark.parametrize(
    ("seconds", "cpu_s", "rest"),
    [
        (LONG_S * 0.9, 0.0, 0.0),
        (0.02, 0.02, 0.0),
        (0.02, 0.03, 0.0),
        (0.02, 0.01, 0.01 * REST_FACTOR),
        (1.0, 0.0, MAX_REST_S),
    ],
)
def test_a_rest_is_as_long_as_the_competition_for_the_interpreter(
    seconds: float, cpu_s: float, rest: float
) -> None:
    assert rest_s(seconds, cpu_s) == pytest.approx(rest)


async def test_a_thread_that_rests_does_so_before_the_next_computation() -> None:
    waited_s = 2 * LONG_S

    def wait() -> float:
        """Wait for something else than the processor; when that has ended."""
        threading.Event().wait(waited_s)
        return time.monotonic()

    async def rested(beside: OffLoop) -> bool:
        ended = await beside.run(wait)
        return await beside.run(time.monotonic) - ended >= waited_s * REST_FACTOR * 0.8

    assert await rested(OffLoop("test", rests=True))
    # A thread that a busy machine keeps waiting seems to rest.
    tries = 0
    while await rested(OffLoop("test", rests=False)):
        tries += 1
        assert tries < 100


async def test_those_for_whom_it_computes_take_turns_and_what_is_cancelled_is_left_out() -> None:
    beside, may_begin, order = OffLoop("test"), threading.Event(), list[str]()
    first = asyncio.ensure_future(beside.run(may_begin.wait, PATIENCE_S))

    async def compute(caller: str) -> None:
        on_behalf_of.set(caller)
        await beside.run(order.append, caller)

    calls = [asyncio.ensure_future(compute(caller)) for caller in ["ann"] * 4 + ["bob", "carl"]]
    # All of them wait.
    await asyncio.sleep(0)
    calls[1].cancel()
    await asyncio.sleep(0)
    may_begin.set()
    await asyncio.gather(first, *calls, return_exceptions=True)
    assert order == ["ann", "bob", "carl", "ann", "ann"]
