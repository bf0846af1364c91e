"""A fair queue for the connections of the pool: callers who wait for one take turns (ADR 0018).

Otherwise a caller who starts 50 refinements at once keeps all others waiting for what these read and write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from server.domain.round_robin import RoundRobin


class ConnectionQueue:
    """The free connections of a pool, counted, and the callers who wait for one."""

    def __init__(self, connections: int) -> None:
        self._free = connections
        self._waiting: RoundRobin[asyncio.Future[None]] = RoundRobin()

    def take_now(self) -> bool:
        """Take a connection, if one is free."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def take(self, caller: Hashable) -> None:
        """Wait for a connection and take it."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(caller, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        """Give a connection to the caller whose turn it is; it is free when none waits."""
        while self._waiting:
            turn = self._waiting.take()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
