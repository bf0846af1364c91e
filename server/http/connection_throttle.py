"""Throttling of new connections: how many per second have their first request read (ADR 0018).

Without it, a thousand clients that connect at once are a thousand requests in one turn of the event loop, and
every stream waits for all of them. A client that leaves while it waits costs almost nothing.

Those that wait take turns by what they present (`presented`), so that one account's connections do not keep
all others waiting. The newest one, and the one whose turn was longest ago, take turns: a client that comes
during a burst of strangers does not wait for all of it, and none is overtaken forever.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Hashable
from typing import Protocol

from server.domain.rates import Rate, TokenBucket

#: First requests that are read: a third of what a processor can answer.
NEW_CONNECTIONS = Rate(burst=10, per_s=300)
#: Connections that may wait. When one more comes, the one that waits longest is refused.
MAX_WAITING = 1_000

_CREDENTIALS = re.compile(rb"\r\n(?:authorization|sec-websocket-protocol(?=[^\r\n]*bearer)):([^\r\n]+)", re.I)


class Beginner(Protocol):
    """A new connection whose first bytes have arrived."""

    def begin(self) -> None:
        """Read them: it is its turn."""
        ...

    def refuse(self) -> None:
        """Close it: too many wait."""
        ...


def presented(first_bytes: bytes) -> Hashable:
    """What a connection presents, unchecked: a header with a token, otherwise the address, which may have a
    ticket. A client that invents tokens counts as several callers."""
    found = _CREDENTIALS.search(first_bytes)
    return hash(found[1]) if found else hash(first_bytes.partition(b"\r\n")[0])


class _Caller:
    """The connections of one caller that wait, in the order in which they came."""

    __slots__ = ("newest_next", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[Beginner, None] = {}
        self.newest_next = True

    def take(self) -> Beginner:
        """The newest and the oldest by turns."""
        found = next(reversed(self.waiting) if self.newest_next else iter(self.waiting))
        del self.waiting[found]
        self.newest_next = not self.newest_next
        return found


class ConnectionThrottle:
    """Delays the new connections of one server."""

    def __init__(self, rate: Rate = NEW_CONNECTIONS, *, max_waiting: int = MAX_WAITING) -> None:
        self._bucket, self._max_waiting = TokenBucket(rate), max_waiting
        #: Connections that wait, with what they present.
        self._waiting: dict[Beginner, Hashable] = {}
        #: Callers in the order in which they came, or had their last turn.
        self._callers: OrderedDict[Hashable, _Caller] = OrderedDict()
        #: Those that had none yet, in the order in which they came.
        self._new: dict[Hashable, None] = {}
        self._newest_next = True
        self._next: asyncio.TimerHandle | None = None

    def enter(self, connection: Beginner, first_bytes: bytes) -> bool:
        """Whether the connection may begin now. Otherwise it is refused, or its `begin` is called later."""
        now = asyncio.get_running_loop().time()
        if not self._waiting and not self._bucket.over_s(now):
            self._bucket.take(1, now)
            return True
        if len(self._waiting) >= self._max_waiting:
            # Not the new one: a flood that fills the places would keep everybody out.
            oldest = next(iter(self._waiting))
            self.leave(oldest)
            oldest.refuse()
        caller = self._waiting[connection] = presented(first_bytes)
        if caller not in self._callers:
            self._callers[caller] = _Caller()
            self._new[caller] = None
        self._callers[caller].waiting[connection] = None
        if self._next is None:
            self._wait(now)
        return False

    def leave(self, connection: Beginner) -> None:
        """The connection is gone. If it still waited, it took nothing from the rate."""
        if connection not in self._waiting:
            return
        caller = self._waiting.pop(connection)
        del self._callers[caller].waiting[connection]
        self._forget_if_none_waits(caller)

    def _forget_if_none_waits(self, caller: Hashable) -> None:
        if not self._callers[caller].waiting:
            del self._callers[caller]
            self._new.pop(caller, None)

    def _wait(self, now: float) -> None:
        loop = asyncio.get_running_loop()
        self._next = loop.call_later(self._bucket.over_s(now), self._begin_next)

    def _begin_next(self) -> None:
        self._next = None
        if not self._waiting:
            return
        connection = self._take()
        now = asyncio.get_running_loop().time()
        self._bucket.take(1, now)
        if self._waiting:
            self._wait(now)
        connection.begin()

    def _take(self) -> Beginner:
        """The connection whose turn it is."""
        newest = self._newest_next and self._new
        caller = next(reversed(self._new) if newest else iter(self._callers))
        self._newest_next = not self._newest_next
        connection = self._callers[caller].take()
        del self._waiting[connection]
        self._new.pop(caller, None)
        self._callers.move_to_end(caller)
        self._forget_if_none_waits(caller)
        return connection
