"""Memory that all callers of this process share: what is read for them and not yet sent (ADR 0030).

An answer, or a step of a stream, takes its bytes into use before they are read from the database, and gives
them back once they are sent. There is no queue of data: what finds no room waits, and holds nothing.

Large requests have another budget of the same kind (ADR 0072): otherwise a request that waits for room for
its answer would wait for itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from types import TracebackType
from typing import Self

from server.domain.errors import LimitReached

#: Default bound, in bytes: a replica, with all that it needs besides, stays below 512 MiB.
MAX_UNSENT_BYTES = 96 << 20
#: The same for what large requests have in memory until they are answered, and how many of one caller may
#: wait for room: each has its first 100 KiB in memory meanwhile.
MAX_REQUEST_BYTES, MAX_WAITING_REQUESTS = 64 << 20, 50
#: How many times its bytes a request takes: as it arrives, as text and as values.
REQUEST_COPIES = 8
#: How many times what a caller uses must be free besides.
_FREE_SHARE = 3
#: Seconds that an answer waits for room, and whole seconds after which its caller may try again.
WAIT_S, RETRY_S = 10.0, 5


class FairBudget:
    """Bytes in use, by caller. A caller may use a third of what it leaves free for all others.

    So a caller alone has a quarter of the budget, and there is always room for one more. Nobody waits for
    another caller's turn; the reservations of one caller are granted in their order. max_waiting: how many of
    them may wait; None for any number.
    """

    def __init__(self, max_bytes: int = MAX_UNSENT_BYTES, *, max_waiting: int | None = None) -> None:
        self._max_bytes, self._max_waiting = max_bytes, max_waiting
        self._used_by: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, deque[tuple[int, asyncio.Future[None]]]] = {}
        #: Bytes in use.
        self.used_bytes = 0

    @property
    def contended(self) -> bool:
        """Whether anybody waits for room."""
        return bool(self._waiting)

    def counted(self, size_bytes: int) -> int:
        """As what a reservation of so many bytes counts: what is larger than the budget can hold several of
        is granted nevertheless, to few at a time."""
        largest = self._max_bytes // (8 if size_bytes <= self._max_bytes // 2 else 4)
        return min(size_bytes, largest)

    async def take(self, caller: Hashable, size_bytes: int) -> None:
        """Take so many bytes into use, once there is room. Raises LimitReached when too many wait for it."""
        waiting = self._waiting.get(caller, ())
        if not waiting and self.take_now(caller, size_bytes):
            return
        if self._max_waiting is not None and len(waiting) >= self._max_waiting:
            raise LimitReached("too many large requests of this caller wait", retry_after_s=RETRY_S)
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append((size_bytes, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                # Its place is passed over.
                self._grant()
            else:
                self.give_back(caller, size_bytes)
            raise

    def take_now(self, caller: Hashable, size_bytes: int) -> bool:
        """Take so many bytes into use if there is room. Returns whether there was."""
        used = self._used_by.get(caller, 0) + size_bytes
        if used * _FREE_SHARE > self._max_bytes - self.used_bytes - size_bytes:
            return False
        self._used_by[caller] = used
        self.used_bytes += size_bytes
        return True

    def give_back(self, caller: Hashable, size_bytes: int) -> None:
        """Give back so many bytes."""
        self.used_bytes -= size_bytes
        self._used_by[caller] -= size_bytes
        if not self._used_by[caller]:
            del self._used_by[caller]
        if self._waiting:
            self._grant()

    def _grant(self) -> None:
        # The caller that uses least comes first.
        for caller in sorted(self._waiting, key=lambda each: self._used_by.get(each, 0)):
            places = self._waiting[caller]
            while places:
                size_bytes, granted = places[0]
                if not granted.cancelled():
                    if not self.take_now(caller, size_bytes):
                        break
                    granted.set_result(None)
                places.popleft()
            if not places:
                del self._waiting[caller]


class Reservation:
    """What one answer or stream of a caller has in use; used by one task. Close it, or use it in a `with`
    block. wait_s: the longest wait for room; None for as long as it takes."""

    def __init__(self, budget: FairBudget, caller: Hashable, *, wait_s: float | None = None) -> None:
        self._budget, self._caller, self._wait_s = budget, caller, wait_s
        #: Bytes that it has in use.
        self.size_bytes = 0
        #: Bytes that were asked for: those of something very large count only in part.
        self.asked_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def contended(self) -> bool:
        """Whether anybody waits for room."""
        return self._budget.contended

    async def resize(self, size_bytes: int) -> None:
        """Have so many bytes in use: fewer at once, more as soon as there is room. Raises LimitReached."""
        counted = self._budget.counted(size_bytes)
        if counted <= self.size_bytes:
            self._set(counted, size_bytes)
            return
        more = counted - self.size_bytes
        try:
            async with asyncio.timeout(self._wait_s):
                await self._budget.take(self._caller, more)
        except TimeoutError:
            message = "too much of what this caller asked for waits to be read"
            raise LimitReached(message, retry_after_s=RETRY_S) from None
        self.size_bytes, self.asked_bytes = counted, size_bytes

    def resize_now(self, size_bytes: int) -> bool:
        """As `resize`, for bytes that exist already. Returns whether there was room."""
        counted = self._budget.counted(size_bytes)
        if counted > self.size_bytes and not self._budget.take_now(self._caller, counted - self.size_bytes):
            return False
        self._set(counted, size_bytes)
        return True

    def _set(self, counted: int, asked_bytes: int) -> None:
        if counted < self.size_bytes:
            self._budget.give_back(self._caller, self.size_bytes - counted)
        self.size_bytes, self.asked_bytes = counted, asked_bytes

    def close(self) -> None:
        """Give everything back. May be called twice."""
        self._set(0, 0)
