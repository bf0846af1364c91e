"""Turns of the event loop, which the runs of a replica share.

Runs whose streams are full would each handle 64 KiB of frames in every turn of the loop: with 50 of them a
turn would take 80 ms, and a request, which needs some ten turns, almost a second. Here a turn of the loop is
for a few of them, and the others have the next ones. Callers take turns, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from server.domain.round_robin import RoundRobin

#: Frames of all runs that are handled in one turn of the loop: some 2 ms if they are tokens.
TURN_FRAMES = 64


class LoopTurns:
    """How many frames are handled in one turn of the loop."""

    def __init__(self, frames: int = TURN_FRAMES) -> None:
        self._frames = self._left = frames
        self._waiting: RoundRobin[tuple[asyncio.Future[None], int]] = RoundRobin()
        self._scheduled = False

    async def take(self, caller: Hashable, frames: int) -> None:
        """Wait until so many frames of a caller's run may be handled."""
        if not self._waiting and self._left > 0:
            self._spend(frames)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(caller, (turn, frames))
        await turn

    def _spend(self, frames: int) -> None:
        self._left -= frames
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._scheduled, self._left = False, self._frames
        while self._waiting and self._left > 0:
            turn, frames = self._waiting.take()
            if not turn.done():
                self._spend(frames)
                turn.set_result(None)
