"""Waking the readers that wait for a thread's next event: some in each turn of the event loop (ADR 0073).

A reader that is woken takes 50 to 100 µs, and more on a busy machine. With 500 of them, each event of a run
would take 50 ms in which nobody else goes on. A reader whose turn is later finds the events that came
meanwhile, and takes them together.

Not `server.domain.loop_time`, for whose turn a reader waits itself: here it waits already, and a second wait
would cost each reader another future and another turn of its task for each event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence

from server.domain.round_robin import RoundRobin

#: Readers that are woken in one turn of the loop, at first and at most, and at least while others wait.
WAKES_PER_TURN, LEAST_WAKES = 32, 4
#: Seconds after which a turn of the loop was long, whatever was done in it: fewer wake in the next one.
LONG_S = 0.002


class ReaderWakes:
    """The readers of a replica that are to be woken. Threads take turns. now: seconds of a clock that is
    monotonic."""

    def __init__(self, *, now: Callable[[], float] = time.perf_counter) -> None:
        self._per_turn = self._left = WAKES_PER_TURN
        self._waiting: RoundRobin[asyncio.Future[None]] = RoundRobin()
        self._scheduled = False
        self._now, self._began = now, 0.0

    def wake(self, thread: Hashable, readers: Sequence[asyncio.Future[None]]) -> None:
        """Wake the readers of a thread: at once if there are few."""
        if not self._waiting and len(readers) <= self._left:
            for reader in readers:
                _wake(reader)
            self._spend(len(readers))
            return
        for reader in readers:
            self._waiting.put(thread, reader)
        self._spend(0)

    def _spend(self, count: int) -> None:
        self._left -= count
        if not self._scheduled and (count or self._waiting):
            self._scheduled, self._began = True, self._now()
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        was_long = self._now() - self._began > LONG_S
        self._per_turn = (
            max(self._per_turn // 2, LEAST_WAKES) if was_long else min(self._per_turn * 2, WAKES_PER_TURN)
        )
        self._scheduled, self._left = False, self._per_turn
        woken = 0
        while self._waiting and woken < self._per_turn:
            woken += _wake(self._waiting.take())
        self._spend(woken)


def _wake(reader: asyncio.Future[None]) -> bool:
    """Wake a reader. Returns whether it still waited."""
    if reader.done():
        return False
    reader.set_result(None)
    return True
