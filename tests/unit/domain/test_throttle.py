"""Whose calls go on, and whose are delayed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable
from uuid import UUID

import pytest

from server.domain.access.throttle import Throttle
from server.domain.errors import LimitReached
from server.domain.rates import Rate
from tests.support.hand_clock import without_pauses

SLOW = Rate(burst=2, per_s=10)
EVE, ANN = (UUID(int=1), SLOW), (UUID(int=2), SLOW)


class Calls:
    """Calls of one interface, in the order in which they went on."""

    def __init__(self, *, max_wait_s: float = 10.0, max_waiting: int = 1000) -> None:
        self.cut_off: Counter[str] = Counter()
        self.throttle = Throttle(self, max_wait_s=max_wait_s, max_waiting=max_waiting)
        self.went_on: list[str] = []

    def on_cut_off(self, reason: str) -> None:
        self.cut_off[reason] += 1

    async def call(self, name: str, *counted: tuple[Hashable, Rate]) -> None:
        await self.throttle.wait(counted)
        self.went_on.append(name)


@without_pauses
async def test_one_that_makes_many_calls_waits_and_others_do_not() -> None:
    calls = Calls()
    began = asyncio.get_running_loop().time()
    flood = [asyncio.create_task(calls.call("eve", EVE)) for _ in range(4)]
    await asyncio.sleep(0)
    await calls.call("ann", ANN)
    await asyncio.gather(*flood)
    assert calls.went_on == ["eve", "eve", "ann", "eve", "eve"]
    assert asyncio.get_running_loop().time() - began == pytest.approx(0.2)
    assert calls.cut_off == {}


@without_pauses
async def test_a_call_that_is_counted_with_several_waits_for_all_of_them() -> None:
    calls = Calls()
    links = ("links", Rate(3, 10))
    flood = [asyncio.create_task(calls.call(name, (name, SLOW), links)) for name in "aabbcc"]
    await asyncio.sleep(0)
    assert calls.went_on == ["a", "a", "b"]
    await asyncio.gather(*flood)
    assert sorted(calls.went_on) == list("aabbcc")


@without_pauses
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


@without_pauses
async def test_a_call_whose_client_leaves_waits_no_longer() -> None:
    calls = Calls()
    flood = [asyncio.create_task(calls.call("eve", EVE)) for _ in range(50)]
    await asyncio.sleep(0)
    for each in flood[2:]:
        each.cancel()
    await asyncio.wait(flood)
    assert calls.throttle._waiting == 0


@without_pauses
async def test_a_call_is_refused_at_once_when_too_many_wait() -> None:
    calls = Calls(max_waiting=6)
    flood = [asyncio.create_task(calls.call("eve", EVE)) for _ in range(2 + 3 + 4)]
    await asyncio.sleep(0)
    assert [each.done() for each in flood] == [True] * 2 + [False] * 3 + [True] * 4
    assert calls.cut_off == {"calls": 4}
    await calls.call("ann", ANN)
    await asyncio.gather(*flood, return_exceptions=True)


@without_pauses
async def test_one_caller_and_all_strangers_leave_places_for_others_to_wait() -> None:
    calls = Calls(max_waiting=8)
    flood = [asyncio.create_task(calls.call("eve", EVE)) for _ in range(20)]
    flood += [asyncio.create_task(calls.call(peer, (peer, Rate(0, 1)))) for peer in "abcdefgh"]
    await asyncio.sleep(0)
    assert sum(not each.done() for each in flood) == 4 + 2
    await asyncio.gather(*(calls.call("ann", ANN) for _ in range(4)))
    assert calls.went_on.count("ann") == 4
    await asyncio.gather(*flood, return_exceptions=True)


@without_pauses
async def test_a_call_whose_pause_ends_with_its_client_waits_no_longer() -> None:
    async def pause(seconds: float) -> None:
        raise ConnectionResetError

    calls = Calls()
    for _ in range(2):
        await calls.throttle.wait((EVE,), pause=pause)
    with pytest.raises(ConnectionResetError):
        await calls.throttle.wait((EVE,), pause=pause)
    assert calls.throttle._waiting == 0
