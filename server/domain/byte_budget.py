"""The memory that all runs of this process share between the runtime and the journal."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TypeAlias

from server.domain.off_loop import SMALL_BYTES

#: Default bound, in bytes.
MAX_QUEUED_BYTES = 128 << 20
#: The budget has so many equal parts. Large reservations leave one to the small ones, by default enough for
#: those of 500 runs; one may be kept.
_PARTS = 4

_Places: TypeAlias = deque[tuple[int, asyncio.Future[None]]]


class ByteBudget:
    """Bytes that are in use, and two queues of reservations that wait: small ones, up to `SMALL_BYTES`, and
    large ones.

    Small reservations do not wait behind large ones, which leave a quarter of the budget to them: otherwise
    the tokens of every run would wait for the large frames of one. While a large reservation waits, small
    ones may overtake it, up to `max_bytes` in total.

    Up to a quarter may be kept for as long as a run lasts (`keep`): no reservation waits for that alone.

    max_bytes: the bound for `reserve`. A larger reservation is granted when only kept bytes are in use.
    """

    def __init__(self, max_bytes: int = MAX_QUEUED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._max_large_bytes = max_bytes - max_bytes // _PARTS
        self._small, self._large = _Places(), _Places()
        #: Bytes of small reservations that were granted since the first large one began to wait.
        self._overtaken_bytes = 0
        #: Bytes in use, and those of them that are kept.
        self.used_bytes = self._kept_bytes = 0

    def reserve_now(self, size_bytes: int) -> bool:
        """Take so many bytes into use if they are free and no reservation of its kind waits. Returns whether
        it did."""
        free = not self._queue(size_bytes) and self._fits(size_bytes)
        if free:
            self._take(size_bytes)
        return free

    def has_room(self, size_bytes: int) -> bool:
        """Whether so many bytes are free and no reservation waits: then a small frame may be handled at once,
        without one."""
        return not self._small and not self._large and self.used_bytes + size_bytes <= self._max_bytes

    async def reserve(self, size_bytes: int) -> None:
        """Take so many bytes into use, once they are free and it is this reservation's turn."""
        if self.reserve_now(size_bytes):
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue(size_bytes).append((size_bytes, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                # Its place goes when it is the first: a release may have taken it already.
                self._grant()
            else:
                self.release(size_bytes)
            raise

    def add(self, size_bytes: int) -> None:
        """Take so many bytes into use at once, also above the bound: they exist already."""
        self.used_bytes += size_bytes

    @property
    def keepable_bytes(self) -> int:
        """How many more bytes may be kept."""
        return max(self._max_bytes // _PARTS - self._kept_bytes, 0)

    def keep(self, size_bytes: int) -> bool:
        """Take bytes into use that exist already, unless too many would be kept. Returns whether it did."""
        if self._kept_bytes + size_bytes > self._max_bytes // _PARTS:
            return False
        self._kept_bytes += size_bytes
        self.add(size_bytes)
        return True

    def release_kept(self, size_bytes: int) -> None:
        """Give back so many bytes that were kept."""
        self._kept_bytes -= size_bytes
        self.release(size_bytes)

    def release(self, size_bytes: int) -> None:
        """Give so many bytes back."""
        self.used_bytes -= size_bytes
        if self._small or self._large:
            self._grant()

    def _queue(self, size_bytes: int) -> _Places:
        return self._small if size_bytes <= SMALL_BYTES else self._large

    def _fits(self, size_bytes: int) -> bool:
        if size_bytes > SMALL_BYTES:
            max_bytes = self._max_large_bytes
        elif self._large and self._overtaken_bytes + size_bytes > self._max_bytes:
            return False
        else:
            max_bytes = self._max_bytes
        return self.used_bytes == self._kept_bytes or self.used_bytes + size_bytes <= max_bytes

    def _take(self, size_bytes: int) -> None:
        self.used_bytes += size_bytes
        if size_bytes > SMALL_BYTES or not self._large:
            self._overtaken_bytes = 0
        else:
            self._overtaken_bytes += size_bytes

    def _grant(self) -> None:
        while self._grant_first(self._small) or self._grant_first(self._large):
            pass

    def _grant_first(self, queue: _Places) -> bool:
        """Grant the first reservation of a queue if there is room for it. Returns whether it did."""
        while queue and queue[0][1].cancelled():
            queue.popleft()
        if not queue or not self._fits(queue[0][0]):
            return False
        size_bytes, granted = queue.popleft()
        self._take(size_bytes)
        granted.set_result(None)
        return True
