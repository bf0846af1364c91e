"""Time of the event loop that readers who catch up share, for as long as there is other work (ADR 0073).

What is made for a reader takes 0.3 µs an event or 40, and no size of it says which. So it is timed: a reader
goes on until a millisecond of the loop's turn has passed, in which all that the turn did besides counts, too.
Then the next one has a turn. The busier the loop is, the less of a turn is theirs; each turn has a little.

So it cannot be `server.domain.loop_turns`, which has to know how much comes before it gives a turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable

from server.domain.round_robin import RoundRobin

#: Seconds of a turn of the loop after which nobody goes on.
TURN_S = 0.001
#: Readers that go on in one turn while they need little each.
_MOST_A_TURN = 8


class LoopTime:
    """The turns of one event loop, in which callers take turns. now: seconds of a clock that is monotonic."""

    def __init__(self, turn_s: float = TURN_S, *, now: Callable[[], float] = time.perf_counter) -> None:
        self._turn_s, self._now = turn_s, now
        self._waiting: RoundRobin[asyncio.Future[None]] = RoundRobin()
        self._ends_at = 0.0
        self._scheduled = False
        #: How many of those who wait go on in a turn.
        self._count = 1

    async def take(self, caller: Hashable) -> None:
        """Wait for a turn of the loop in which a caller's reader may go on."""
        if self.take_now():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(caller, turn)
        await turn

    def take_now(self) -> bool:
        """Whether a reader may go on in this turn."""
        if self._waiting:
            return False
        if self._scheduled:
            return self.left
        self._begin_turn()
        return True

    @property
    def left(self) -> bool:
        """Whether one who went on may do more in this turn."""
        return self._now() < self._ends_at

    def _begin_turn(self) -> None:
        self._scheduled, self._ends_at = True, self._now() + self._turn_s
        asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._scheduled = False
        if not self._waiting:
            return
        self._count = min(self._count * 2, _MOST_A_TURN) if self.left else max(self._count // 2, 1)
        count = self._count
        while self._waiting and count:
            turn = self._waiting.take()
            if not turn.done():
                turn.set_result(None)
                count -= 1
        # After those who go on: what they do is in their turn, and not in the next one.
        self._begin_turn()
