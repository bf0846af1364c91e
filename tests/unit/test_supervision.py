"""Parts of the hub that fail: started again, named, and given up after a number of failures in a row."""

from __future__ import annotations

import asyncio

import pytest

from server.supervision import MAX_RESTART_S, MAX_RESTARTS, SOUND_S, PartFailed, root_fault, supervise_all
from tests.support.hand_clock import HandClock, until


class Flaky:
    """A part that fails each time after `lasts_s`."""

    def __init__(self, clock: HandClock, lasts_s: float) -> None:
        self._clock, self._lasts_s = clock, lasts_s
        self.starts = 0

    async def run(self) -> None:
        self.starts += 1
        if self._lasts_s:
            await self._clock.sleep(self._lasts_s)
        raise ExceptionGroup("a group of one", [KeyError("a bug")])


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_part_that_fails_in_a_row_ends_all_with_its_name_and_its_fault() -> None:
    clock = HandClock()
    flaky = Flaky(clock, 0)
    cancelled = asyncio.Event()

    async def healthy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    running = asyncio.create_task(supervise_all({"flaky part": flaky.run, "healthy": healthy}, clock))
    for _ in range(MAX_RESTARTS):
        await settled()
        assert not running.done()
        clock.move(MAX_RESTART_S)
    with pytest.raises(PartFailed, match="the flaky part failed") as failed:
        await running
    assert isinstance(root_fault(failed.value.__cause__), KeyError)
    assert flaky.starts == MAX_RESTARTS + 1
    assert cancelled.is_set()


async def test_a_part_that_was_sound_for_a_while_is_always_started_again() -> None:
    clock = HandClock()
    flaky = Flaky(clock, SOUND_S + 1)
    running = asyncio.create_task(supervise_all({"flaky": flaky.run}, clock))
    for number in range(3 * MAX_RESTARTS):
        await until(lambda number=number: flaky.starts > number)
        await settled()
        clock.move(SOUND_S + 1)
        await settled()
        clock.move(MAX_RESTART_S)
    assert not running.done()
    running.cancel()


async def test_a_part_that_ends_is_started_again() -> None:
    clock = HandClock()
    starts = 0

    async def ends() -> None:
        nonlocal starts
        starts += 1

    running = asyncio.create_task(supervise_all({"ends": ends}, clock))
    await settled()
    clock.move(MAX_RESTART_S)
    await settled()
    assert starts == 2
    running.cancel()
