"""Ends that have their turn on the event loop."""

from __future__ import annotations

import asyncio

from server.domain.endings import ENDS_PER_TURN, Endings
from tests.support.hand_clock import turns


async def test_an_end_that_fails_costs_no_other_its_turn() -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
    endings, ended = Endings(), list[int]()
    endings.add(lambda: ended.append(1 // 0))
    for number in range(2 * ENDS_PER_TURN):
        endings.add(lambda number=number: ended.append(number))
    await turns()
    assert ended == list(range(2 * ENDS_PER_TURN))
    assert [type(fault) for fault in faults] == [ZeroDivisionError]
