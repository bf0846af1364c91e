"""Quotas: how much one caller may do at a time, on all replicas together (ADR 0018).

1. A caller has at most so many live runs, makes at most so many things a minute, and has at most so many
   open streams; one that has enough is told when to come back. No other caller notices.
2. Each is checked where it is counted, in one statement of the store: two replicas never let in more than
   one would. What a replica that died had open counts no more once it is known to be dead.
3. A quota of 0 is none.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from server.domain.errors import LimitReached

#: Between two signs of life of a replica, in seconds, and after how long without one it counts as dead.
SYNC_S, DEAD_AFTER_S = 5.0, 15.0
#: Whole seconds after which somebody with too many live runs, or streams, may try again.
RUNS_RETRY_S, STREAMS_RETRY_S = 15, 5


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """Most of each for one caller; 0 for no limit."""

    max_active_runs: int = 50
    max_creates_per_minute: int = 120
    max_streams: int = 500


class QuotaStore(Protocol):
    """What callers have and did, on all replicas. Times are the store's own."""

    async def count_create(self, caller: UUID, most: int) -> int | None:
        """Count one more create in this minute; if it is one too many, return the whole seconds to wait
        instead."""
        ...

    async def count_stream(self, caller: UUID, most: int) -> bool:
        """Count one more open stream of this replica; False if all replicas together have `most`."""
        ...

    async def beat(self) -> bool:
        """Store that this replica is alive. False if it was unknown: its open streams must be reported
        again."""
        ...

    async def tell_streams(self, counts: Mapping[UUID, int]) -> None:
        """Store how many streams of these callers are open on this replica."""
        ...


class Quotas:
    """The quotas, as this replica applies them."""

    def __init__(self, store: QuotaStore, limits: QuotaLimits) -> None:
        self._store, self.limits = store, limits
        self._open: Counter[UUID] = Counter()
        self._waiting: Counter[UUID] = Counter()
        #: Callers of whom the store may have another number.
        self._changed: set[UUID] = set()

    async def create(self, caller: UUID) -> None:
        """Count something that the caller makes. Raises LimitReached."""
        if not self.limits.max_creates_per_minute:
            return
        wait_s = await self._store.count_create(caller, self.limits.max_creates_per_minute)
        if wait_s is not None:
            raise LimitReached(
                f"at most {self.limits.max_creates_per_minute} may be made a minute", retry_after_s=wait_s
            )

    async def open_stream(self, caller: UUID) -> None:
        """Count a stream that is about to open; close it again. Raises LimitReached."""
        most = self.limits.max_streams
        if not most:
            return
        # Counted here first: what is told meanwhile may be too much, and never too little.
        self._open[caller] += 1
        try:
            counted = self._open[caller] <= most and await self._store.count_stream(caller, most)
        except BaseException:
            self.close_stream(caller)
            raise
        if not counted:
            self.close_stream(caller)
            raise LimitReached(
                f"at most {most} streams may be open: close some", retry_after_s=STREAMS_RETRY_S
            )

    def close_stream(self, caller: UUID) -> None:
        """A stream that was counted is closed."""
        if self.limits.max_streams:
            _less(self._open, caller)
            self._changed.add(caller)

    @contextlib.contextmanager
    def waiting(self, caller: UUID) -> Iterator[None]:
        """A call that may wait for news, on this replica. Raises LimitReached."""
        most = self.limits.max_streams
        if most and self._waiting[caller] >= most:
            raise LimitReached(f"at most {most} calls may wait at a time", retry_after_s=STREAMS_RETRY_S)
        self._waiting[caller] += 1
        try:
            yield
        finally:
            _less(self._waiting, caller)

    async def sync(self) -> None:
        """Report what changed to the store, or everything if it does not know this replica.

        Raises DatabaseUnavailable.
        """
        known = await self._store.beat()
        changed = self._changed if known else self._changed | self._open.keys()
        self._changed = set()
        if not changed:
            return
        try:
            await self._store.tell_streams({caller: self._open[caller] for caller in changed})
        except BaseException:
            self._changed |= changed
            raise


def _less(counts: Counter[UUID], caller: UUID) -> None:
    """One less; who has none is forgotten."""
    counts[caller] -= 1
    if counts[caller] <= 0:
        del counts[caller]
