"""Places that callers share, such as connections to the database: those who wait for one take turns, and none
has more than a share of them (ADR 0018).

Otherwise a caller who starts 50 refinements at once keeps all others waiting for what these read and write,
and one whose statements take seconds keeps them waiting for as long. Two such callers would do so together
if each had half of the places: a caller gets no more than it leaves free, as long as others have some
(ADR 0072).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from server.domain.round_robin import RoundRobin

#: One caller has one in so many of the places at most. The hub itself has as many as it needs.
CALLER_SHARE = 2


class FairQueue:
    """The free places, counted, and the callers who wait for one; None is the hub itself."""

    def __init__(self, places: int) -> None:
        self._free, self._most = places, max(places // CALLER_SHARE, 1)
        self._taken: Counter[Hashable] = Counter()
        self._waiting: RoundRobin[tuple[Hashable, asyncio.Future[None]]] = RoundRobin()
        #: Those who wait for a place of their own caller.
        self._held_back: dict[Hashable, deque[asyncio.Future[None]]] = {}

    def take_now(self, caller: Hashable) -> bool:
        """Take a place, if one is free that the caller may have."""
        if not self._free or self._has_its_share(caller):
            return False
        self._give(caller)
        return True

    async def take(self, caller: Hashable) -> None:
        """Wait for a place and take it."""
        if self.take_now(caller):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(caller, (caller, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.give_back(caller)
            raise

    def give_back(self, caller: Hashable) -> None:
        """Give a caller's place to the one whose turn it is; it is free when none waits."""
        self._free += 1
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
        self._let_another_wait(caller)
        for other in list(self._held_back):
            # There is one place more: its share may be larger now.
            if not self._has_its_share(other):
                self._let_another_wait(other)
        while self._free and self._waiting:
            next_caller, turn = self._waiting.take()
            if turn.done():
                self._let_another_wait(next_caller)
            elif self._has_its_share(next_caller):
                self._held_back.setdefault(next_caller, deque()).append(turn)
            else:
                self._give(next_caller)
                turn.set_result(None)

    @asynccontextmanager
    async def place(self, caller: Hashable) -> AsyncIterator[None]:
        """Wait for a place, and have it in the block."""
        await self.take(caller)
        try:
            yield
        finally:
            self.give_back(caller)

    def _let_another_wait(self, caller: Hashable) -> None:
        """One of the caller may have a place again, or one less waits for it."""
        held_back = self._held_back.get(caller)
        while held_back:
            turn = held_back.popleft()
            if not turn.done():
                self._waiting.put(caller, (caller, turn))
                break
        if held_back is not None and not held_back:
            del self._held_back[caller]

    def _has_its_share(self, caller: Hashable) -> bool:
        return caller is not None and self._taken[caller] >= min(self._most, max(self._free, 1))

    def _give(self, caller: Hashable) -> None:
        self._free -= 1
        self._taken[caller] += 1
