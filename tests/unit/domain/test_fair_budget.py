"""The budget of what is read for callers and not yet sent."""

from __future__ import annotations

import asyncio
import random
from uuid import UUID, uuid4

import pytest

from server.domain.errors import LimitReached
from server.domain.fair_budget import FairBudget, Reservation
from tests.support.hand_clock import turns

ANN, BOB = uuid4(), uuid4()


async def test_a_caller_may_use_a_third_of_what_it_leaves_free_for_others() -> None:
    budget = FairBudget(1600)
    mine = [Reservation(budget, ANN) for _ in range(3)]
    for each in mine[:2]:
        await each.resize(200)
    waiting = asyncio.ensure_future(mine[2].resize(1))
    await turns()
    assert not waiting.done()
    assert budget.contended
    other = Reservation(budget, BOB)
    await other.resize(200)
    assert budget.used_bytes == 600
    mine[0].close()
    await waiting
    assert budget.used_bytes == 401
    assert not budget.contended


async def test_there_is_room_for_one_more_caller_when_many_have_all_that_they_can_get() -> None:
    budget = FairBudget(96 << 20)
    for _ in range(10):
        caller = uuid4()
        while Reservation(budget, caller).resize_now(64 << 10):
            pass
    assert Reservation(budget, uuid4()).resize_now(1 << 20)


async def test_who_waits_holds_up_no_other_caller_and_who_uses_least_is_next() -> None:
    budget = FairBudget(1600)
    large, small = Reservation(budget, ANN), Reservation(budget, ANN)
    await large.resize(200)
    await small.resize(150)
    granted: list[str] = []

    async def take(name: str, caller: UUID) -> None:
        await Reservation(budget, caller).resize(200)
        granted.append(name)

    tasks = [asyncio.ensure_future(take("ann", ANN))]
    await turns()
    tasks.append(asyncio.ensure_future(take("bob", BOB)))
    await turns()
    assert granted == ["bob"]
    large.close()
    small.close()
    await asyncio.gather(*tasks)
    assert granted == ["bob", "ann"]


async def test_what_is_very_large_counts_as_a_part_of_the_budget_so_that_it_is_granted_at_all() -> None:
    budget = FairBudget(1600)
    with Reservation(budget, ANN) as large:
        await large.resize(800)
        assert large.size_bytes == 200
        large.close()
        await large.resize(1_000_000)
        assert large.size_bytes == 400


async def test_an_answer_that_finds_no_room_in_time_is_refused_and_may_be_asked_for_again() -> None:
    budget = FairBudget(1600)
    with Reservation(budget, ANN) as first, Reservation(budget, ANN) as second:
        await first.resize(200)
        await second.resize(200)
        with pytest.raises(LimitReached) as refused, Reservation(budget, ANN, wait_s=0.01) as third:
            await third.resize(100)
        assert refused.value.retry_after_s
        assert budget.used_bytes == 400
        assert not budget.contended
    assert budget.used_bytes == 0


async def test_bytes_that_exist_already_are_counted_only_when_there_is_room() -> None:
    budget = FairBudget(1600)
    with Reservation(budget, ANN) as first, Reservation(budget, ANN) as second:
        assert first.resize_now(200)
        assert first.resize_now(190)
        assert second.resize_now(199)
        with Reservation(budget, ANN) as third:
            assert not third.resize_now(50)
            assert third.size_bytes == 0
        assert (first.size_bytes, second.size_bytes) == (190, 199)
        assert budget.used_bytes == 389


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_is_lost_whatever_is_cancelled(seed: int) -> None:
    chance = random.Random(seed)
    budget = FairBudget(1000)
    callers = [uuid4() for _ in range(4)]

    async def run(caller: UUID) -> None:
        with Reservation(budget, caller, wait_s=chance.choice((None, 0.0, 0.001))) as reservation:
            for _ in range(5):
                await reservation.resize(chance.randrange(400))
                await asyncio.sleep(0)

    tasks = [asyncio.ensure_future(run(chance.choice(callers))) for _ in range(40)]
    for _ in range(30):
        await asyncio.sleep(0)
        chance.choice(tasks).cancel()
    # The others wait for what each has.
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert budget.used_bytes == 0
    assert not budget.contended


async def test_no_more_of_a_caller_wait_than_may() -> None:
    budget = FairBudget(800, max_waiting=1)
    held, waiting = Reservation(budget, ANN), Reservation(budget, ANN)
    await held.resize(100)
    await Reservation(budget, ANN).resize(100)
    task = asyncio.ensure_future(waiting.resize(100))
    await turns()
    with pytest.raises(LimitReached):
        await Reservation(budget, ANN).resize(100)
    with Reservation(budget, BOB) as other:
        await other.resize(100)
    held.close()
    await task
