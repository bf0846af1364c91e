"""A limit on how many new connections per second have their first request read (ADR 0018).

Without it, a thousand clients that connect at once are a thousand requests in one turn of the event loop, and
every stream waits for all of them. A client that leaves while it waits costs almost nothing. The newest and
the oldest waiting connection take turns: a client that comes during a burst does not wait for all of it, and
none is overtaken forever.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from server.domain.rates import Rate, TokenBucket

#: First requests that are read: a third of what a processor can answer.
NEW_CONNECTIONS = Rate(burst=10, per_s=300)
#: Connections that may wait. One more is refused.
MAX_WAITING = 1_000


class Beginner(Protocol):
    """A new connection whose first bytes have arrived."""

    def begin(self) -> None:
        """Read them: it is its turn."""
        ...

    def refuse(self) -> None:
        """Close it: too many wait."""
        ...


class ConnectionPace:
    """The new connections of one server."""

    def __init__(self, rate: Rate = NEW_CONNECTIONS, *, max_waiting: int = MAX_WAITING) -> None:
        self._bucket, self._max_waiting = TokenBucket(rate), max_waiting
        #: In the order in which they came.
        self._waiting: dict[Beginner, None] = {}
        self._newest_next = True
        self._next: asyncio.TimerHandle | None = None

    def enter(self, connection: Beginner) -> bool:
        """Whether the connection may begin now. Otherwise it is refused, or its `begin` is called later."""
        now = asyncio.get_running_loop().time()
        if not self._waiting and not self._bucket.over_s(now):
            self._bucket.take(1, now)
            return True
        if len(self._waiting) >= self._max_waiting:
            connection.refuse()
            return False
        self._waiting[connection] = None
        if self._next is None:
            self._wait(now)
        return False

    def leave(self, connection: Beginner) -> None:
        """The connection is gone. If it still waited, it took nothing from the rate."""
        self._waiting.pop(connection, None)

    def _wait(self, now: float) -> None:
        loop = asyncio.get_running_loop()
        self._next = loop.call_later(self._bucket.over_s(now), self._begin_next)

    def _begin_next(self) -> None:
        self._next = None
        if not self._waiting:
            return
        connection = next(reversed(self._waiting) if self._newest_next else iter(self._waiting))
        del self._waiting[connection]
        self._newest_next = not self._newest_next
        now = asyncio.get_running_loop().time()
        self._bucket.take(1, now)
        if self._waiting:
            self._wait(now)
        connection.begin()
