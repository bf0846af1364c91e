"""When grpc learns that a call has ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from server.domain.endings import ENDS_PER_TURN, Endings
from server.grpc.call_ends import CallEnd, CallLoop, DroppedCalls, waiting


async def test_a_call_that_goes_on_ends_at_once_and_those_that_wait_in_turns() -> None:
    loop = asyncio.get_running_loop()
    endings = Endings()
    waits, goes_on = [CallEnd(endings, loop) for _ in range(2 * ENDS_PER_TURN + 1)], CallEnd(endings, loop)
    for end in waits:
        end.waits = True
        end.set_result(None)
    goes_on.set_result(None)
    assert goes_on.done()
    finished = []
    for _ in range(4):
        finished.append(sum(end.done() for end in waits))
        await asyncio.sleep(0)
    assert finished == [0, ENDS_PER_TURN, 2 * ENDS_PER_TURN, 2 * ENDS_PER_TURN + 1]


async def test_a_call_that_ended_while_it_waited_does_not_go_on() -> None:
    loop, turn, went_on = CallLoop(asyncio.get_running_loop()), asyncio.Event(), []

    async def handle(ends: bool) -> None:
        with waiting():
            await turn.wait()
        went_on.append(ends)

    calls = {}
    for ends in (True, False):
        # As grpc.aio does with each call.
        handler = loop.create_task(handle(ends), name="HandleExceptions[M]")
        calls[handler] = loop.create_future()
    await asyncio.sleep(0)
    left, stays = calls
    calls[left].set_result(None)
    turn.set()
    await asyncio.wait(calls)
    assert left.cancelled()
    assert not stays.cancelled()
    assert went_on == [False]


class _Call:
    """A call, which notes in which turn of the loop it is freed."""

    def __init__(self, freed: Counter[int], turn: Callable[[], int]) -> None:
        self._freed, self._turn = freed, turn

    def __del__(self) -> None:
        self._freed[self._turn()] += 1


async def test_calls_that_are_dropped_end_a_part_of_them_in_a_turn() -> None:
    dropped, freed, turn = DroppedCalls(), Counter[int](), 0
    dropped.add(_Call(freed, lambda: turn) for _ in range(1000))
    while freed.total() < 1000:
        turn += 1
        await asyncio.sleep(0)
    assert not freed[0]
    assert max(freed.values()) == 250
    assert sorted(freed.values(), reverse=True) == list(freed.values())


async def test_calls_that_are_dropped_end_as_fast_as_they_come() -> None:
    dropped, freed, kept = DroppedCalls(), Counter[int](), 0
    for turn in range(100):
        dropped.add(_Call(freed, lambda: 0) for _ in range(256))
        await asyncio.sleep(0)
        kept = max(kept, 256 * (turn + 1) - freed.total())
    assert kept < 1024
