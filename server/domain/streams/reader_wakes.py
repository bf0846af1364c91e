"""Waking the readers that wait for a thread's next event: so many in one turn of the event loop (ADR 0073).

A reader that is woken takes 50 to 100 µs. With 500 of them, each event of a run would take 50 ms in which
nobody else goes on. A reader whose turn is later finds the events that came meanwhile, and takes them
together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence

from server.domain.round_robin import RoundRobin

#: Readers that are woken in one turn of the loop: up to 3 ms.
WAKES_PER_TURN = 32


class ReaderWakes:
    """The readers of a replica that are to be woken. Threads take turns."""

    def __init__(self, per_turn: int = WAKES_PER_TURN) -> None:
        self._per_turn = self._left = per_turn
        self._waiting: RoundRobin[asyncio.Future[None]] = RoundRobin()
        self._scheduled = False

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
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
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
