"""Whose calls go on, and whose wait."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from server.domain.errors import LimitReached
from server.domain.rates import Rate
from server.grpc import admission
from server.grpc.admission import Admission, Counted
from server.grpc.app import DEFAULT_LIMITS

SLOW, EVE, ANN = Rate(burst=2, per_s=10), ("eve", Rate(2, 10)), ("ann", Rate(2, 10))


class Calls:
    """Calls of one server, in the order in which they went on."""

    def __init__(self, *, max_wait_s: float = 10.0) -> None:
        self.cut_off: Counter[str] = Counter()
        self.admission = Admission(self, max_calls=2, max_wait_s=max_wait_s)
        self.went_on: list[str] = []

    def on_cut_off(self, reason: str) -> None:
        self.cut_off[reason] += 1

    async def call(self, name: str, *counted: tuple[str, Rate]) -> None:
        await self.admission.turn(counted)
        self.went_on.append(name)


async def test_one_that_makes_many_calls_waits_and_others_do_not() -> None:
    calls = Calls()
    began = asyncio.get_running_loop().time()
    flood = [asyncio.create_task(calls.call("eve", EVE)) for _ in range(4)]
    await asyncio.sleep(0)
    await calls.call("ann", ANN)
    await asyncio.gather(*flood)
    assert calls.went_on == ["eve", "eve", "ann", "eve", "eve"]
    assert asyncio.get_running_loop().time() - began >= 0.2
    assert calls.cut_off == {}


async def test_a_call_that_is_counted_with_several_waits_for_all_of_them() -> None:
    calls = Calls()
    links = ("links", Rate(3, 10))
    flood = [asyncio.create_task(calls.call(name, (name, SLOW), links)) for name in "aabbcc"]
    await asyncio.sleep(0)
    assert calls.went_on == ["a", "a", "b"]
    await asyncio.gather(*flood)
    assert sorted(calls.went_on) == list("aabbcc")


async def test_a_call_whose_turn_comes_too_late_waits_and_is_refused() -> None:
    calls = Calls(max_wait_s=0.15)
    began = asyncio.get_running_loop().time()
    flood = [calls.call("eve", EVE) for _ in range(8)]
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    took = asyncio.get_running_loop().time() - began
    refused = [each for each in outcomes if isinstance(each, LimitReached)]
    # Two at once, and those whose turn comes before the limit, or next after it.
    assert (len(calls.went_on), len(refused)) == (4, 4)
    assert took >= 0.15
    assert calls.cut_off == {"calls": 4}
    await calls.call("eve", EVE)


async def test_a_call_whose_client_leaves_waits_no_longer() -> None:
    calls = Calls()
    flood = [asyncio.create_task(calls.call("eve", EVE)) for _ in range(50)]
    await asyncio.sleep(0)
    for each in flood[2:]:
        each.cancel()
    await asyncio.wait(flood, timeout=1)
    assert calls.admission._waiting == 0


async def test_so_many_calls_go_on_at_a_time() -> None:
    calls = Calls()
    with calls.admission.place():
        with calls.admission.place(), pytest.raises(LimitReached), calls.admission.place():
            pass
        with calls.admission.place():
            pass


def test_a_flood_finds_room_to_wait() -> None:
    """A flood comes on several connections."""
    assert 10 * DEFAULT_LIMITS.max_streams <= admission.MAX_WAITING
    unknown: Counted = admission.UNKNOWN_METHODS
    assert all(rate.per_s <= admission.OF_USER.per_s for _, rate in unknown)
