"""The budget of bytes that all runs share."""

from __future__ import annotations

import asyncio
import random

import pytest

from server.domain.byte_budget import ByteBudget
from server.domain.off_loop import SMALL_BYTES
from tests.support.hand_clock import turns


async def test_what_fits_is_granted_at_once_and_what_does_not_waits_for_a_release() -> None:
    budget = ByteBudget(100)
    await budget.reserve(60)
    await budget.reserve(40)
    waiting = asyncio.ensure_future(budget.reserve(1))
    await turns()
    assert not waiting.done()
    budget.release(40)
    await waiting
    assert budget.used_bytes == 61


async def test_equal_reservations_are_granted_in_their_order_also_when_a_later_one_would_fit() -> None:
    budget = ByteBudget(100)
    await budget.reserve(80)
    granted: list[str] = []

    async def take(name: str, size: int) -> None:
        await budget.reserve(size)
        granted.append(name)

    tasks = [asyncio.ensure_future(take(*each)) for each in (("large", 90), ("small", 10), ("last", 10))]
    await turns()
    assert granted == []
    budget.release(80)
    await turns()
    assert granted == ["large", "small"]
    budget.release(90)
    await asyncio.gather(*tasks)
    assert granted == ["large", "small", "last"]


async def test_a_small_reservation_does_not_wait_behind_large_ones_nor_for_what_they_use() -> None:
    budget = ByteBudget(16 * SMALL_BYTES)
    large = 5 * SMALL_BYTES
    for _ in range(2):
        await budget.reserve(large)
    waiting = [asyncio.ensure_future(budget.reserve(large)) for _ in range(2)]
    await turns()
    assert not any(each.done() for each in waiting)
    for _ in range(6):
        assert budget.reserve_now(SMALL_BYTES)
    # Now the budget is used up: a small one waits, and is the first that gets what becomes free.
    small = asyncio.ensure_future(budget.reserve(SMALL_BYTES))
    await turns()
    assert not small.done()
    budget.release(large)
    await turns()
    assert small.done()
    assert not any(each.done() for each in waiting)
    budget.release(5 * SMALL_BYTES)
    await waiting[0]
    assert budget.used_bytes == 12 * SMALL_BYTES


async def test_small_reservations_overtake_a_large_one_for_a_bounded_number_of_bytes() -> None:
    budget = ByteBudget(16 * SMALL_BYTES)
    assert budget.reserve_now(8 * SMALL_BYTES)
    large = asyncio.ensure_future(budget.reserve(8 * SMALL_BYTES))
    await turns()
    for _ in range(16):
        assert budget.reserve_now(SMALL_BYTES)
        budget.release(SMALL_BYTES)
    small = asyncio.ensure_future(budget.reserve(SMALL_BYTES))
    await turns()
    assert not small.done()
    budget.release(8 * SMALL_BYTES)
    await asyncio.gather(large, small)
    assert budget.used_bytes == 9 * SMALL_BYTES


async def test_a_reservation_above_the_bound_is_granted_when_it_is_alone() -> None:
    budget = ByteBudget(100)
    await budget.reserve(1)
    waiting = asyncio.ensure_future(budget.reserve(1000))
    await turns()
    assert not waiting.done()
    budget.release(1)
    await waiting
    assert budget.used_bytes == 1000


async def test_a_quarter_may_be_kept_and_no_reservation_waits_for_that_alone() -> None:
    budget = ByteBudget(100)
    assert budget.keep(20)
    assert not budget.keep(6)
    assert budget.keep(5)
    assert budget.reserve_now(75)
    waiting = asyncio.ensure_future(budget.reserve(100))
    await turns()
    assert not waiting.done()
    budget.release(75)
    await waiting
    budget.release_kept(25)
    assert budget.used_bytes == 100


async def test_what_exists_already_counts_without_waiting() -> None:
    budget = ByteBudget(100)
    budget.add(500)
    waiting = asyncio.ensure_future(budget.reserve(1))
    await turns()
    assert not waiting.done()
    budget.release(401)
    await waiting
    assert budget.used_bytes == 100


@pytest.mark.parametrize("granted", [False, True])
async def test_one_that_gives_up_keeps_nothing_and_makes_way(granted: bool) -> None:
    budget = ByteBudget(100)
    await budget.reserve(100)
    first = asyncio.ensure_future(budget.reserve(100))
    second = asyncio.ensure_future(budget.reserve(5))
    await turns()
    if granted:
        # It is granted, but gives up before it can run.
        budget.release(100)
        assert budget.used_bytes == 100
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    if not granted:
        budget.release(100)
    await second
    assert budget.used_bytes == 5


async def test_any_order_of_reservations_releases_and_cancellations_ends_with_nothing_in_use() -> None:
    for seed in range(50):
        chance = random.Random(seed)
        most = 4 * SMALL_BYTES
        budget = ByteBudget(most)

        async def run(size: int, steps: int, budget: ByteBudget = budget, most: int = most) -> None:
            await budget.reserve(size)
            try:
                assert budget.used_bytes <= max(most, size)
                await turns(steps)
            finally:
                budget.release(size)

        tasks = [
            asyncio.ensure_future(run(chance.randint(0, 5 * SMALL_BYTES), chance.randint(0, 4)))
            for _ in range(60)
        ]
        while not all(task.done() for task in tasks):
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [result for result in results if isinstance(result, AssertionError)]
        assert budget.used_bytes == 0


@pytest.mark.parametrize("released_first", [True, False])
async def test_a_reservation_that_is_cancelled_while_another_one_releases_takes_nothing(
    released_first: bool,
) -> None:
    budget = ByteBudget(100)
    await budget.reserve(90)
    cancelled, waiting = (asyncio.ensure_future(budget.reserve(size)) for size in (50, 60))
    await turns()
    if released_first:
        budget.release(90)
        cancelled.cancel()
    else:
        cancelled.cancel()
        budget.release(90)
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await waiting
    assert budget.used_bytes == 60


async def test_what_waits_behind_a_cancelled_reservation_is_granted_at_once_if_it_fits() -> None:
    budget = ByteBudget(100)
    await budget.reserve(90)
    cancelled, waiting = (asyncio.ensure_future(budget.reserve(size)) for size in (50, 10))
    await turns()
    assert not waiting.done()
    cancelled.cancel()
    await waiting
    assert budget.used_bytes == 100
