"""Places that callers share."""

from __future__ import annotations

import asyncio

from server.domain.fair_queue import FairQueue


async def test_a_place_that_is_given_to_a_caller_who_leaves_goes_to_the_next_one() -> None:
    queue = FairQueue(1)
    assert queue.take_now("c")
    leaving, staying = (asyncio.ensure_future(queue.take(caller)) for caller in ("a", "b"))
    await asyncio.sleep(0)
    queue.give_back("c")
    leaving.cancel()
    await asyncio.wait({leaving})
    await staying
    assert not queue.take_now("c")
    queue.give_back("b")
    assert queue.take_now("c")


async def test_half_of_the_places_are_never_one_callers() -> None:
    """Its statements may take seconds, for which nobody else must wait."""
    queue, had = FairQueue(4), list[int]()

    async def use(number: int) -> None:
        await queue.take("greedy")
        had.append(number)

    many = [asyncio.ensure_future(use(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert had == [0, 1]
    assert queue.take_now("other")
    assert queue.take_now(None)
    assert not queue.take_now(None)
    queue.give_back("other")
    queue.give_back("greedy")
    await asyncio.sleep(0)
    assert had == [0, 1, 2]
    many[3].cancel()
    await asyncio.wait({many[3]})
    queue.give_back("greedy")
    await asyncio.sleep(0)
    assert had == [0, 1, 2, 4]


async def test_several_callers_together_leave_places_for_another_one() -> None:
    """Whatever each of them waits for with its places."""
    queue = FairQueue(10)
    had = dict.fromkeys("abc", 0)
    for caller in had:
        while queue.take_now(caller):
            had[caller] += 1
    assert had == {"a": 5, "b": 3, "c": 1}
    assert queue.take_now("d")


async def test_a_callers_share_grows_again_when_others_give_theirs_back() -> None:
    queue, had = FairQueue(4), list[str]()

    async def use(caller: str) -> None:
        await queue.take(caller)
        had.append(caller)

    assert all(queue.take_now(caller) for caller in ("a", None, "b"))
    waiting = [asyncio.ensure_future(use("a")) for _ in range(2)]
    await asyncio.sleep(0)
    assert had == []
    queue.give_back("b")
    await asyncio.sleep(0)
    assert had == ["a"]
    queue.give_back(None)
    queue.give_back("a")
    await asyncio.gather(*waiting)
    assert had == ["a", "a"]


async def test_the_hub_itself_may_have_every_place() -> None:
    queue = FairQueue(4)
    assert [queue.take_now(None) for _ in range(5)] == [True] * 4 + [False]


async def test_who_leaves_the_queue_keeps_no_other_of_the_same_caller_waiting() -> None:
    queue = FairQueue(2)
    assert queue.take_now("a")
    leaving, staying = (asyncio.ensure_future(queue.take("a")) for _ in range(2))
    await asyncio.sleep(0)
    assert queue.take_now("b")
    # Both wait for a place of their own caller; with this one the first waits for any.
    other = asyncio.ensure_future(queue.take("c"))
    await asyncio.sleep(0)
    queue.give_back("b")
    await other
    assert queue.take_now("b") is False
    queue.give_back("a")
    leaving.cancel()
    await asyncio.wait({leaving})
    await staying
