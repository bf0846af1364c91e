"""Quotas: how much one caller may do at a time, on all replicas together (ADR 0018).

1. A caller has a limited number of active runs, of creations per minute and of open streams. A caller at its
   limit learns when to try again. Other callers are not affected. Share links count as the user who made
   them, and leave a part of the streams to that user: those who have a link cannot lock its maker out.
2. Each quota is checked where it is counted, in one statement of the store: two replicas together never
   admit more than one would. The streams of a dead replica stop counting once it is known to be dead.
3. A quota of 0 means no limit.
4. A caller uses up neither the creations of a minute nor its streams at once (`QuotaLimits.creations`,
   `QuotaLimits.openings`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from server.domain.access.throttle import MAX_CALLERS
from server.domain.errors import LimitReached
from server.domain.model import Principal
from server.domain.rates import Rate, TokenBuckets

#: Seconds between two heartbeats of a replica, and seconds without one until it counts as dead.
SYNC_S, DEAD_AFTER_S = 5.0, 15.0
#: One in so many streams is never a share link's.
LINKS_LEAVE_ONE_IN = 5
#: The creations of a minute take so many seconds at least, but a caller begins so many at once and in each
#: second: a start of a refinement takes 5 ms of the event loop, and 120 at once would hold up everybody.
CREATIONS_S, MIN_CREATIONS = 8.0, Rate(burst=10, per_s=15)
#: A caller opens all of its streams within so many seconds, such as when a replica drains. Each takes some
#: 3 ms of the event loop, more than other calls; a caller opens so many at once and in each second.
OPENINGS_S, MIN_OPENINGS = 5.0, Rate(burst=20, per_s=100)
#: Whole seconds after which a caller with too many active runs, or too many streams, may try again.
RUNS_RETRY_S, STREAMS_RETRY_S = 15, 5


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """The limits of one caller; 0 for no limit."""

    max_active_runs: int = 50
    max_creates_per_minute: int = 120
    max_streams: int = 500

    @property
    def creations(self) -> Rate:
        """How fast a caller may use up the creations of a minute."""
        per_s = max(self.max_creates_per_minute / CREATIONS_S, MIN_CREATIONS.per_s)
        return Rate(per_s * MIN_CREATIONS.burst / MIN_CREATIONS.per_s, per_s)

    @property
    def openings(self) -> Rate:
        """How fast a caller may use up its streams."""
        per_s = max(self.max_streams / OPENINGS_S, MIN_OPENINGS.per_s)
        return Rate(per_s * MIN_OPENINGS.burst / MIN_OPENINGS.per_s, per_s)

    def streams_of(self, principal: Principal) -> int:
        """How many streams there may be, all of the user's and of its share links together, for the principal
        to open one more."""
        if not principal.is_share_link or self.max_streams <= 1:
            return self.max_streams
        return self.max_streams - max(self.max_streams // LINKS_LEAVE_ONE_IN, 1)


class QuotaStore(Protocol):
    """The counts of each caller, over all replicas. Times are the store's own."""

    async def count_creation(self, caller: UUID, limit: int) -> int | None:
        """Count one more creation in this minute. At the limit, count nothing and return the whole seconds
        to wait."""
        ...

    async def count_stream(self, caller: UUID, limit: int) -> bool:
        """Count one more open stream of this replica. Returns False if all replicas together have `limit`."""
        ...

    async def heartbeat(self) -> bool:
        """Record that this replica is alive. Returns False if the store did not know it: then its open
        streams must be reported again."""
        ...

    async def set_streams(self, counts: Mapping[UUID, int]) -> None:
        """Store how many streams of these callers are open on this replica."""
        ...


class Quotas:
    """The quotas, as this replica applies them."""

    def __init__(
        self,
        store: QuotaStore,
        limits: QuotaLimits,
        *,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store, self.limits = store, limits
        self._now, self._pause = now, pause
        self._creations, self._openings = TokenBuckets(MAX_CALLERS), TokenBuckets(MAX_CALLERS)
        #: When callers may create something again whom the store has refused.
        self._refused_until: dict[UUID, float] = {}
        self._open: Counter[UUID] = Counter()
        self._waiting: Counter[UUID] = Counter()
        #: Callers whose count in the store may be out of date.
        self._changed: set[UUID] = set()

    async def count_creation(self, caller: UUID) -> None:
        """Count something that the caller creates, and wait until the caller may begin it. Raises
        LimitReached."""
        limit = self.limits.max_creates_per_minute
        if not limit:
            return
        wait_s = self._refused_for_s(caller)
        if wait_s is None:
            wait_s = await self._store.count_creation(caller, limit)
            if wait_s is None:
                await self._wait_for_turn(self._creations, caller, self.limits.creations)
                return
            self._remember_refused(caller, wait_s)
        raise LimitReached(f"at most {limit} creations per minute are allowed", retry_after_s=wait_s)

    async def _wait_for_turn(self, turns: TokenBuckets, caller: Hashable, rate: Rate) -> None:
        pause_s = turns.take(caller, rate, 1, self._now())
        if pause_s:
            await self._pause(pause_s)

    def _refused_for_s(self, caller: UUID) -> int | None:
        """Whole seconds for which the store would refuse a creation of the caller; None if it has to be
        asked. A caller who goes on all the same does not cost the database a statement each time."""
        until = self._refused_until.get(caller)
        if until is None:
            return None
        left_s = until - self._now()
        if left_s <= 0:
            del self._refused_until[caller]
            return None
        return math.ceil(left_s)

    def _remember_refused(self, caller: UUID, wait_s: int) -> None:
        self._refused_until[caller] = self._now() + wait_s
        if len(self._refused_until) > MAX_CALLERS:
            del self._refused_until[next(iter(self._refused_until))]

    async def open_stream(self, principal: Principal) -> None:
        """Count a stream that is about to open, until `close_stream`, and wait until it may. Raises
        LimitReached."""
        caller, limit = principal.quota_id, self.limits.streams_of(principal)
        if not limit:
            return
        # Counted here first, so that streams that open at a time do not pass the limit here.
        self._open[caller] += 1
        try:
            counted = self._open[caller] <= limit
            if counted:
                # Those who have a link do not keep its maker waiting.
                key = ("links", caller) if principal.is_share_link else caller
                await self._wait_for_turn(self._openings, key, self.limits.openings)
                counted = await self._store.count_stream(caller, limit)
                # A `sync` that began before may put its own count in the place of this one.
                self._changed.add(caller)
        except BaseException:
            self.close_stream(principal)
            raise
        if not counted:
            self.close_stream(principal)
            raise LimitReached(
                f"at most {limit} open streams are allowed: close some", retry_after_s=STREAMS_RETRY_S
            )

    def close_stream(self, principal: Principal) -> None:
        """Stop counting a stream."""
        if self.limits.max_streams:
            _decrement(self._open, principal.quota_id)
            self._changed.add(principal.quota_id)

    @contextlib.contextmanager
    def waiting_call(self, principal: Principal) -> Iterator[None]:
        """Count a call that waits for events, until the block ends, on this replica. Raises LimitReached."""
        caller, limit = principal.quota_id, self.limits.streams_of(principal)
        if limit and self._waiting[caller] >= limit:
            raise LimitReached(
                f"at most {limit} waiting calls are allowed at a time", retry_after_s=STREAMS_RETRY_S
            )
        self._waiting[caller] += 1
        try:
            yield
        finally:
            _decrement(self._waiting, caller)

    async def sync(self) -> None:
        """Report what changed to the store, or everything if it does not know this replica.

        Raises DatabaseUnavailable.
        """
        known = await self._store.heartbeat()
        changed = self._changed if known else self._changed | self._open.keys()
        self._changed = set()
        if not changed:
            return
        try:
            await self._store.set_streams({caller: self._open[caller] for caller in changed})
        except BaseException:
            self._changed |= changed
            raise


def _decrement(counts: Counter[UUID], caller: UUID) -> None:
    """Subtract one; a caller with none left is removed."""
    counts[caller] -= 1
    if counts[caller] <= 0:
        del counts[caller]
