"""The room of frames that are being read."""

from __future__ import annotations

import asyncio

from server.domain.byte_budget import ByteBudget
from server.domain.runs.connection import FrameRoom
from server.domain.runs.listening import ListeningClock
from tests.support.hand_clock import HandClock


async def test_runs_that_need_more_room_than_they_have_do_not_wait_for_each_other() -> None:
    budget = ByteBudget(100 << 10)
    rooms = [FrameRoom(budget, ListeningClock(HandClock())) for _ in range(2)]
    for each in rooms:
        await each.reserve(40 << 10)

    async def read_the_rest(room: FrameRoom) -> None:
        await room.reserve(90 << 10)
        assert budget.used_bytes <= 90 << 10
        await asyncio.sleep(0)
        room.give_back()

    async with asyncio.timeout(60):
        await asyncio.gather(*map(read_the_rest, rooms))
    assert budget.used_bytes == 0
