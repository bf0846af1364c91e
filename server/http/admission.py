"""When a request is read whose first bytes have arrived (ADR 0018, ADR 0057, ADR 0073).

To read a request and to answer or refuse it takes half a millisecond of the event loop. A thousand clients
that connect at once, or ask again after each answer, would have all of it. A request that waits here has cost
little, and its client waits with it. One that leaves costs almost nothing.

1. A request with a token that identified a caller lately is taken for that caller's. Each caller has a rate.
2. All other requests are strangers', who share one. The first requests of connections and their further ones
   take turns. Among first ones those take turns that present something else (`presented`), so that one
   account's connections do not keep all others waiting: the newest one and the one whose turn was longest ago
   by turns. A client that comes during a burst does not wait for all of it, and none is overtaken forever.
   Among further ones the connection begins whose last turn was longest ago.
3. Requests that are sent before the answer to the one before them count when they arrive: the next one of
   their caller waits for them.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Protocol

from server.domain.access.throttle import MAX_CALLERS, OF_USER
from server.domain.rates import Rate, TokenBuckets

#: Requests of all strangers that are read: a third of what a processor can answer.
STRANGERS = Rate(burst=10, per_s=300)
#: What may be here of one request that waits, in bytes, and of all larger ones together.
SMALL_BYTES, MAX_LARGE_BYTES = 4 << 10, 32 << 20

_HEADER = re.compile(
    rb"\r\n(?:authorization|sec-websocket-protocol(?=[^\r\n]*bearer)):[ \t]*([^\r\n]+)", re.I
)
_QUERY = re.compile(rb"[?&](?:token|ticket)=([^\s&#]+)")
#: Bytes in which credentials are looked for: what is in a longer head is a stranger's.
_SEARCHED_BYTES = 8 << 10


class Beginner(Protocol):
    """A connection on which the first bytes of a request have arrived."""

    #: The number of the last turn that it had here; 0 before its first request.
    last_turn: int

    def begin(self) -> None:
        """Read them: it is its turn."""
        ...


def credentials_of(first_bytes: bytes) -> Hashable:
    """A hash of the token, secret or ticket in a request's headers or address, which is not checked. None if
    the request has none, or if it has not arrived yet."""
    searched = first_bytes[:_SEARCHED_BYTES]
    found = _HEADER.search(searched) or _QUERY.search(searched.partition(b"\r\n")[0])
    return hash(found[1]) if found else None


class _OfCaller:
    """The requests of a known caller that wait, in order."""

    def __init__(self) -> None:
        self._waiting: dict[Beginner, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, connection: Beginner, presented: Hashable) -> None:
        self._waiting[connection] = None

    def remove(self, connection: Beginner) -> None:
        del self._waiting[connection]

    def take(self) -> Beginner:
        connection = next(iter(self._waiting))
        del self._waiting[connection]
        return connection


class _Presenting:
    """The connections that present the same, in the order in which they came."""

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


class _First:
    """The first requests of connections that wait."""

    def __init__(self) -> None:
        #: Connections, with what they present.
        self._waiting: dict[Beginner, Hashable] = {}
        #: What is presented, in the order in which it came, or had its last turn.
        self._groups: OrderedDict[Hashable, _Presenting] = OrderedDict()
        #: Those that had none yet, in the order in which they came.
        self._new: dict[Hashable, None] = {}
        self._newest_next = True

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, connection: Beginner, presented: Hashable) -> None:
        self._waiting[connection] = presented
        if presented not in self._groups:
            self._groups[presented] = _Presenting()
            self._new[presented] = None
        self._groups[presented].waiting[connection] = None

    def remove(self, connection: Beginner) -> None:
        presented = self._waiting.pop(connection)
        del self._groups[presented].waiting[connection]
        self._forget_if_none_waits(presented)

    def _forget_if_none_waits(self, presented: Hashable) -> None:
        if not self._groups[presented].waiting:
            del self._groups[presented]
            self._new.pop(presented, None)

    def take(self) -> Beginner:
        newest = self._newest_next and self._new
        presented = next(reversed(self._new) if newest else iter(self._groups))
        self._newest_next = not self._newest_next
        connection = self._groups[presented].take()
        del self._waiting[connection]
        self._new.pop(presented, None)
        self._groups.move_to_end(presented)
        self._forget_if_none_waits(presented)
        return connection


class _Further:
    """Further requests of connections that wait, by the last turn of their connection."""

    def __init__(self) -> None:
        self._waiting: set[Beginner] = set()
        #: Also of connections that have left since.
        self._order: list[tuple[int, int, Beginner]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, connection: Beginner, presented: Hashable) -> None:
        self._waiting.add(connection)
        heappush(self._order, (connection.last_turn, id(connection), connection))

    def remove(self, connection: Beginner) -> None:
        self._waiting.remove(connection)
        if not self._waiting:
            self._order.clear()

    def take(self) -> Beginner:
        while (connection := heappop(self._order)[2]) not in self._waiting:
            pass
        self._waiting.remove(connection)
        return connection


class _Strangers:
    """The requests of strangers that wait."""

    def __init__(self) -> None:
        self._first, self._further = _First(), _Further()
        self._first_next = True

    def __len__(self) -> int:
        return len(self._first) + len(self._further)

    def _queue_of(self, connection: Beginner) -> _First | _Further:
        return self._further if connection.last_turn else self._first

    def put(self, connection: Beginner, presented: Hashable) -> None:
        self._queue_of(connection).put(connection, presented)

    def remove(self, connection: Beginner) -> None:
        self._queue_of(connection).remove(connection)

    def take(self) -> Beginner:
        first = self._first_next if self._first and self._further else bool(self._first)
        self._first_next = not first
        return self._first.take() if first else self._further.take()


class Admission:
    """The requests of one server. strangers: of all strangers; of_caller: of each known caller."""

    def __init__(self, strangers: Rate = STRANGERS, *, of_caller: Rate = OF_USER) -> None:
        self._strangers, self._of_caller = strangers, of_caller
        self._buckets = TokenBuckets(MAX_CALLERS)
        #: Callers who were identified lately, by what they presented.
        self._callers: OrderedDict[Hashable, Hashable] = OrderedDict()
        #: Where requests wait, by caller; None for strangers. Each has a timer.
        self._queues: dict[Hashable, _OfCaller | _Strangers] = {}
        self._waiting: dict[Beginner, Hashable] = {}
        self._turns = 0
        self._large_bytes = 0

    def identified(self, credentials: Hashable, caller: Hashable) -> None:
        """A request that presented this was a caller's."""
        self._callers[credentials] = caller
        self._callers.move_to_end(credentials)
        if len(self._callers) > MAX_CALLERS:
            self._callers.popitem(last=False)

    def caller_of(self, credentials: Hashable) -> Hashable:
        """Whose request it is that presents this; None for a stranger's."""
        return self._callers.get(credentials)

    def enter(self, connection: Beginner, caller: Hashable, presented: Hashable) -> bool:
        """Whether a request of the caller may be read now. Otherwise `begin` is called later."""
        now = asyncio.get_running_loop().time()
        queue = self._queues.get(caller)
        if queue is None and not self._buckets.over_s(caller, now):
            self._count(connection, caller, now)
            return True
        if queue is None:
            queue = self._queues[caller] = _Strangers() if caller is None else _OfCaller()
            self._wait(caller, now)
        self._waiting[connection] = caller
        queue.put(connection, presented)
        return False

    def count(self, caller: Hashable) -> None:
        """A request of the caller began without a turn: it was sent before the one before it was answered."""
        self._buckets.take(caller, self._rate_of(caller), 1, asyncio.get_running_loop().time())

    def leave(self, connection: Beginner) -> None:
        """The connection is gone. If a request of it still waited, that took nothing from the rate."""
        if connection in self._waiting:
            self._queues[self._waiting.pop(connection)].remove(connection)

    def hold(self, size_bytes: int) -> bool:
        """Keep so many bytes of a large request that waits, if there is room. Returns whether there is."""
        if self._large_bytes + size_bytes > MAX_LARGE_BYTES:
            return False
        self._large_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """So many bytes of a large request are no longer kept here."""
        self._large_bytes -= size_bytes

    def _rate_of(self, caller: Hashable) -> Rate:
        return self._strangers if caller is None else self._of_caller

    def _count(self, connection: Beginner, caller: Hashable, now: float) -> None:
        self._turns += 1
        connection.last_turn = self._turns
        self._buckets.take(caller, self._rate_of(caller), 1, now)

    def _wait(self, caller: Hashable, now: float) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._buckets.over_s(caller, now), self._begin_next, caller)

    def _begin_next(self, caller: Hashable) -> None:
        queue, now = self._queues[caller], asyncio.get_running_loop().time()
        if not queue:
            del self._queues[caller]
            return
        connection = queue.take()
        del self._waiting[connection]
        self._count(connection, caller, now)
        self._wait(caller, now)
        connection.begin()
