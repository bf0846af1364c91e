"""What a caller's large requests may cost that are refused: a budget for each caller, on this replica.

A request that is refused creates nothing, so the quota of creations does not count it. Reading a large one
costs as much as if it were taken.
"""

from __future__ import annotations

from collections import OrderedDict
from math import ceil
from uuid import UUID

from server.domain.clock import Clock
from server.domain.errors import LimitReached

#: Bytes of refused requests that a caller may send at once, and those that come back each second.
BURST_BYTES, BYTES_PER_S = 16 << 20, 256 << 10
#: Callers that are remembered; the one that was refused longest ago is forgotten first.
MAX_CALLERS = 10_000


class RefusedBytes:
    """The budgets of all callers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: For each caller, when nothing of its budget is used any more.
        self._free_at: OrderedDict[UUID, float] = OrderedDict()

    def check(self, caller: UUID) -> None:
        """Raise LimitReached when the caller's budget is used up: before a large request is read."""
        used_s = self._free_at.get(caller, 0.0) - self._clock.monotonic()
        wait_s = used_s - BURST_BYTES / BYTES_PER_S
        if wait_s > 0:
            raise LimitReached("too many large requests were refused", retry_after_s=ceil(wait_s))

    def count(self, caller: UUID, size_bytes: int) -> None:
        """Count a request of that size, which was read and refused."""
        now = self._clock.monotonic()
        self._free_at[caller] = max(self._free_at.get(caller, now), now) + size_bytes / BYTES_PER_S
        self._free_at.move_to_end(caller)
        if len(self._free_at) > MAX_CALLERS:
            self._free_at.popitem(last=False)
