"""Which calls go on: how many one may begin in a second, and how many there are (ADR 0018).

A call that is refused at once costs its client nothing: it makes the next one, and everybody's calls wait in
one line for the event loop. A call that waits for its turn occupies one of its connection's streams, and
grpc itself refuses, beside the loop, what exceeds these. So a flood of calls waits for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Hashable, Iterator, Sequence
from typing import TypeAlias

from server.domain.access.cut_offs import CALLS, CutOffObserver
from server.domain.errors import LimitReached
from server.domain.rates import Rate, TokenBuckets

#: With whom a call is counted, and how many calls each of these may begin.
Counted: TypeAlias = Sequence[tuple[Hashable, Rate]]

#: Calls of a user. When a replica drains, all streams of a client come back at once: 500 in two seconds.
OF_USER = Rate(burst=100, per_s=200)
#: Calls of a share link, and of all share links of one user.
OF_LINK, OF_LINKS = Rate(burst=50, per_s=50), Rate(burst=100, per_s=100)
#: Calls that need no token, or are refused for want of one: of a connection, and all that are refused.
OF_STRANGER, REFUSED = Rate(burst=20, per_s=10), ("refused", Rate(burst=100, per_s=50))
#: Calls of methods that do not exist: tools try several versions of reflection.
UNKNOWN_METHODS: Counted = (("unknown method", Rate(burst=100, per_s=50)),)
#: The longest wait in seconds. After it a call is refused: late, since another one comes in its place.
MAX_WAIT_S = 30.0
#: Calls that wait, some 15 KB each: further ones are refused at once.
MAX_WAITING = 12_000
#: Callers that are remembered.
MAX_CALLERS = 20_000


class Admission:
    """The calls of one server. max_calls: how many may go on at a time."""

    def __init__(self, observer: CutOffObserver, *, max_calls: int, max_wait_s: float = MAX_WAIT_S) -> None:
        self._observer, self._max_calls, self._max_wait_s = observer, max_calls, max_wait_s
        self._buckets = TokenBuckets(MAX_CALLERS)
        self._calls = self._waiting = 0

    async def turn(self, counted: Counted) -> None:
        """Wait for a call's turn. Raises LimitReached after the longest wait, and when too many wait."""
        now = asyncio.get_running_loop().time()
        refused = any(self._buckets.over_s(key, now) > self._max_wait_s for key, _ in counted)
        if refused:
            wait_s = self._max_wait_s
        else:
            wait_s = max((self._buckets.take(key, rate, 1, now) for key, rate in counted), default=0.0)
        if wait_s and self._waiting >= MAX_WAITING:
            refused = True
        elif wait_s:
            await self._wait(wait_s)
        if refused:
            self._observer.on_cut_off(CALLS)
            raise LimitReached("too many calls in a short time", retry_after_s=1)

    async def _wait(self, seconds: float) -> None:
        self._waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting -= 1

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Count a call that goes on, until the block ends. Raises LimitReached."""
        if self._calls >= self._max_calls:
            raise LimitReached("this replica has reached its limit of calls", retry_after_s=1)
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
