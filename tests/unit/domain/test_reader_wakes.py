"""How many readers wake in a turn of the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from functools import partial

from server.domain.streams.live_end import LiveEnd, LiveForm
from server.domain.streams.reader_wakes import ReaderWakes
from tests.support.writers import WritersAtHand


class Readers:
    """Readers that wait. `woken`: how many of each thread in each turn of the loop."""

    def __init__(self) -> None:
        self.woken: Counter[tuple[int, str]] = Counter()
        self._turn = 0
        self._next_turn()

    def _next_turn(self) -> None:
        self._turn += 1
        asyncio.get_running_loop().call_soon(self._next_turn)

    def of(self, thread: str, count: int) -> list[asyncio.Future[None]]:
        readers = [asyncio.get_running_loop().create_future() for _ in range(count)]
        for each in readers:
            each.add_done_callback(lambda _: self.woken.update([(self._turn, thread)]))
        return readers


async def test_so_many_readers_wake_in_a_turn_and_threads_take_turns() -> None:
    readers, wakes = Readers(), ReaderWakes()
    many, few = readers.of("many", 500), readers.of("few", 3)
    wakes.wake("many", many)
    wakes.wake("few", few)
    await asyncio.gather(*few)
    assert sum(each.done() for each in many) <= 64
    await asyncio.gather(*many)
    of_turn = Counter[int]()
    for (turn, _), count in readers.woken.items():
        of_turn[turn] += count
    assert max(of_turn.values()) <= 32


async def test_few_readers_wake_at_once() -> None:
    readers, wakes = Readers(), ReaderWakes()
    for _ in range(3):
        few = readers.of("few", 4)
        wakes.wake("few", few)
        assert all(each.done() for each in few)


async def test_readers_that_left_take_no_turn() -> None:
    readers, wakes = Readers(), ReaderWakes()
    left, stay = readers.of("left", 500), readers.of("stay", 1)
    wakes.wake("left", left)
    wakes.wake("left", stay)
    for each in left:
        each.cancel()
    await asyncio.wait_for(stay[0], 60)


class LiveReader:
    """A reader at the live end, which waits for `woken`. left_at: the seq that it goes on from."""

    def __init__(self, woken: asyncio.Future[None]) -> None:
        self.woken, self.left_at = woken, -1

    def leave_live_end(self, seq: int, heartbeats: int) -> asyncio.Future[None]:
        self.left_at = seq
        return self.woken

    def write_now(self, data: bytes) -> bool:
        return True


async def test_readers_of_a_run_that_ends_leave_its_live_end_together_and_wake_in_turns() -> None:
    readers, wakes = Readers(), ReaderWakes()
    live_end = LiveEnd(partial(datetime.now, UTC), partial(wakes.wake, "thread"))
    waiting = [LiveReader(woken) for woken in readers.of("thread", 500)]
    for each in waiting:
        live_end.join(each, LiveForm("form", lambda _: b"", lambda _: b"", each, WritersAtHand), 7, 0, None)
    live_end.wake()
    assert {each.left_at for each in waiting} == {7}
    assert sum(each.woken.done() for each in waiting) <= 32
    await asyncio.gather(*(each.woken for each in waiting))
    assert max(readers.woken.values()) <= 32


async def test_few_readers_wake_in_a_turn_while_turns_are_long() -> None:
    readers, seconds = Readers(), iter(range(1_000_000))
    wakes = ReaderWakes(now=lambda: float(next(seconds)))
    many = readers.of("many", 500)
    wakes.wake("many", many)
    await asyncio.gather(*many)
    assert [count for _, count in sorted(readers.woken.items())][4:-1] == [4] * (len(readers.woken) - 5)
