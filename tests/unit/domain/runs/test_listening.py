"""Only the time in which the hub listens is the runtime's silence."""

from __future__ import annotations

import asyncio

import pytest

from server.domain.runs.listening import MAX_LATE_S, ListeningClock
from tests.support.hand_clock import HandClock


def test_time_passes_while_the_hub_reads_and_stands_still_while_it_does_not() -> None:
    hand = HandClock()
    clock = ListeningClock(hand)
    began = clock.now()
    hand.move(3)
    assert clock.now() - began == pytest.approx(3)
    with clock.standing_still():
        hand.move(100)
        assert clock.now() - began == pytest.approx(3)
    assert clock.now() - began == pytest.approx(3)
    hand.move(2)
    assert clock.now() - began == pytest.approx(5)
    with clock.standing_still():
        hand.move(7)
    assert clock.now() - began == pytest.approx(5)


async def test_a_wait_ends_with_the_reading() -> None:
    clock = ListeningClock(HandClock())
    reading = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, reading.set_result, None)
    async with asyncio.timeout(60):
        assert await clock.wait(reading, until=clock.now() + 60)


@pytest.mark.parametrize(
    ("late_s", "as_usual"), [(0.0, True), (MAX_LATE_S - 0.01, True), (MAX_LATE_S + 0.01, False)]
)
async def test_a_wait_that_ends_late_says_so(late_s: float, as_usual: bool) -> None:
    hand = HandClock()
    clock = ListeningClock(hand)
    reading = asyncio.get_running_loop().create_future()
    # Stands for a process that is stopped: its timer is due when it goes on.
    asyncio.get_running_loop().call_soon(hand.move, 0.02 + late_s)
    assert await clock.wait(reading, until=clock.now() + 0.02) is as_usual
