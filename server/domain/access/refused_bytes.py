"""What a caller's large requests may cost that are refused: a budget for each caller, on this replica.

A request that is refused creates nothing, so the quota of creations does not count it. Reading a large one
costs as much as if it were taken.
"""

from __future__ import annotations

from math import ceil
from uuid import UUID

from server.domain.clock import Clock
from server.domain.errors import LimitReached
from server.domain.rates import Rate, TokenBuckets

#: Bytes of refused requests that a caller may send at once, and those that come back each second.
BURST_BYTES, BYTES_PER_S = 16 << 20, 256 << 10
#: Callers that are remembered.
MAX_CALLERS = 10_000
_RATE = Rate(BURST_BYTES, BYTES_PER_S)


class RefusedBytes:
    """The budgets of all callers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets = TokenBuckets(MAX_CALLERS)

    def check(self, caller: UUID) -> None:
        """Raise LimitReached when the caller's budget is used up: before a large request is read."""
        wait_s = self._buckets.over_s(caller, self._clock.monotonic())
        if wait_s > 0:
            raise LimitReached("too many large requests were refused", retry_after_s=ceil(wait_s))

    def count(self, caller: UUID, size_bytes: int) -> None:
        """Count a request of that size, which was read and refused."""
        self._buckets.take(caller, _RATE, size_bytes, self._clock.monotonic())
