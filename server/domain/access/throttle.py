"""Throttling: how many calls a caller may begin per second, on each interface (ADR 0018).

A call that is refused at once costs its client nothing: it makes the next one, and everybody's calls wait in
one line for the event loop. A call that is delayed keeps its client waiting: a flood waits for itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from server.domain.access.cut_offs import CALLS, CutOffObserver
from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.errors import LimitReached
from server.domain.model import Principal
from server.domain.rates import Rate, TokenBuckets

#: With whom a call is counted, and how many calls each of these may begin. The last one is for whom it works
#: (`on_behalf_of`): a user, all share links of one, or a text for strangers.
Counted: TypeAlias = Sequence[tuple[Hashable, Rate]]

#: Calls of a user. When a replica drains, all streams of a client come back at once: 500 in 2.5 seconds.
#: The burst is for the first calls of a page; everybody else would wait for the work of a longer one.
OF_USER = Rate(burst=20, per_s=200)
#: Calls of a share link, and of all share links of one user.
OF_LINK, OF_LINKS = Rate(burst=10, per_s=50), Rate(burst=20, per_s=100)
#: All calls that are refused because their caller is not known, or may not call.
REFUSED: Counted = (("refused", Rate(burst=20, per_s=50)),)
#: Callers that are remembered.
MAX_CALLERS = 20_000
#: One in so many of the places of calls that wait is the most for one caller, and for all strangers together:
#: who makes a few calls more than go on at once finds a place to wait.
CALLER_SHARE, STRANGERS_SHARE = 2, 4
#: All strangers, where they count as one.
_STRANGERS = "strangers"


def counted_with(caller: Principal) -> Counted:
    """With whom a caller's calls are counted."""
    if caller.is_share_link:
        return ((caller.user_id, OF_LINK), (("links", caller.quota_id), OF_LINKS))
    return ((caller.user_id, OF_USER),)


class Throttle:
    """Delays the calls of one interface. max_wait_s: the longest wait. After it a call is refused: late,
    since another one comes in its place. max_waiting: calls that wait; further ones are refused at once, and
    those of one who has a share of them."""

    def __init__(self, observer: CutOffObserver, *, max_wait_s: float, max_waiting: int) -> None:
        self._observer, self._max_wait_s, self._max_waiting = observer, max_wait_s, max_waiting
        self._buckets = TokenBuckets(MAX_CALLERS)
        self._waiting = 0
        self._waiting_of: Counter[Hashable] = Counter()

    async def wait(
        self, counted: Counted, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Wait until a call may begin, by `pause`, which may raise when the client is gone. Raises
        LimitReached after the longest wait, and when too many wait."""
        if counted:
            on_behalf_of.set(counted[-1][0])
        now = asyncio.get_running_loop().time()
        refused, wait_s = False, 0.0
        for key, _ in counted:
            if self._buckets.over_s(key, now) > self._max_wait_s:
                refused, wait_s = True, self._max_wait_s
        if not refused:
            for key, rate in counted:
                wait_s = max(wait_s, self._buckets.take(key, rate, 1, now))
        if wait_s:
            with self._place(counted[-1][0]) as has_place:
                refused |= not has_place
                if has_place:
                    await pause(wait_s)
        if refused:
            self._observer.on_cut_off(CALLS)
            raise LimitReached("too many calls in a short time", retry_after_s=1)

    @contextmanager
    def _place(self, caller: Hashable) -> Iterator[bool]:
        """Count a call that waits in the block. Yields whether there is a place for it."""
        stranger = isinstance(caller, str)
        who, share = (_STRANGERS, STRANGERS_SHARE) if stranger else (caller, CALLER_SHARE)
        if self._waiting >= self._max_waiting or self._waiting_of[who] >= self._max_waiting // share:
            yield False
            return
        self._waiting += 1
        self._waiting_of[who] += 1
        try:
            yield True
        finally:
            self._waiting -= 1
            self._waiting_of[who] -= 1
            if not self._waiting_of[who]:
                del self._waiting_of[who]
