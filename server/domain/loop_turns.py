"""Turns of the event loop, which the runs of a replica share, and its readers.

Runs whose streams are full would each handle 64 KiB of frames in every turn of the loop: with 50 of them a
turn would take 80 ms, and a request, which needs some ten turns, almost a second. Here a turn of the loop is
for 16 of them, and the others have the next ones. Callers take turns, too. Readers that catch up have turns
of their own (`server.domain.streams.shared_memory`).

Amounts, and not time as readers have (`server.domain.loop_time`): of a busy loop's turn less would be left,
so that runs would be journalled, and requests begun, the slower the more readers there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from typing import TypeAlias

from server.domain.arrivals import Arrivals
from server.domain.round_robin import RoundRobin

#: Bytes of frames of all runs that are handled in one turn of the loop: 25 ms at most, whether they are
#: tokens or states. Smaller turns would make smaller commits, which cost more.
TURN_BYTES = 1 << 20
#: Frames of one run in a turn, of those that one read brought; bytes below which frames do not wait, and
#: bytes for which each counts at least.
RUN_FRAMES, SMALL_BYTES, MIN_FRAME_BYTES = 512, 16 << 10, 1 << 10
#: One who waits, and how much is to be handled then.
Turn: TypeAlias = "tuple[asyncio.Future[None], int]"


def fill_turn(sizes: Sequence[int]) -> tuple[int, int]:
    """How many frames, of those that a read brought, a run handles in one turn, and for how many bytes they
    count. sizes: bytes of each frame."""
    count = min(len(sizes), RUN_FRAMES)
    return count, max(sum(sizes[:count]), count * MIN_FRAME_BYTES)


class LoopTurns:
    """Limits how much is handled in one turn of the loop. small_bytes: what is smaller does not wait.
    waiting: the queue of those who wait, by default one in which callers take turns. Where requests are
    counted, each is a byte."""

    def __init__(
        self,
        turn_bytes: int = TURN_BYTES,
        *,
        small_bytes: int = SMALL_BYTES,
        waiting: Arrivals[Turn] | None = None,
    ) -> None:
        self._turn_bytes = self._left = turn_bytes
        self._small_bytes = small_bytes
        self._waiting: RoundRobin[Turn] | Arrivals[Turn] = RoundRobin() if waiting is None else waiting
        #: Whether somebody waits, and whether the next turn is scheduled.
        self._is_crowded = self._scheduled = False

    async def take(self, caller: Hashable, size_bytes: int) -> None:
        """Wait for a turn in which so many bytes of a caller's run may be handled."""
        if not self.take_now(size_bytes):
            await self.later(caller, size_bytes)

    def later(self, caller: Hashable, size_bytes: int) -> asyncio.Future[None]:
        """The turn in which so many bytes of a caller may be handled, where `take_now` found no room."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(caller, (turn, size_bytes))
        self._is_crowded = True
        return turn

    def take_now(self, size_bytes: int) -> bool:
        """Whether so many bytes may be handled in this turn: then they count as handled."""
        if self._is_crowded:
            return False
        if size_bytes >= self._small_bytes:
            if self._left <= 0:
                return False
            self._spend(size_bytes)
        return True

    def _spend(self, size_bytes: int) -> None:
        self._left -= size_bytes
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._scheduled, self._left = False, self._turn_bytes
        while self._waiting and self._left > 0:
            turn, size_bytes = self._waiting.take()
            if not turn.done():
                self._spend(size_bytes)
                turn.set_result(None)
        self._is_crowded = bool(self._waiting)
