"""Calls whose request has not arrived: how long they may take for it, and how many there may be (ADR 0018).

grpc itself waits for a request without a deadline, and holds what has arrived of it in memory: up to 4 MiB a
call. Here:

1. A request must arrive within a deadline.
2. Each caller has a limited number of such calls, and so have callers together that are one for the quotas:
   there the oldest makes room for a new one. A share link does not keep its maker out.
3. Few requests are received at a time, few of one caller's, and half of them at most of callers that are one
   for the quotas. A request that does not arrive makes room for one that waits.
4. What large requests have in memory until their calls have ended is bounded for all callers (ADR 0072).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeAlias

from server.domain.access.cut_offs import LATE_REQUEST, UNREAD_CALLS, CutOffObserver
from server.domain.errors import ClientTooSlow, InvalidArgument, LimitReached
from server.domain.fair_budget import REQUEST_COPIES, Reservation
from server.domain.fair_queue import FairQueue
from server.domain.off_loop import SMALL_BYTES
from server.grpc.shared_deadline import SharedDeadline

#: Seconds within which a request must arrive.
REQUEST_DEADLINE_S = 10.0
#: Requests that are received at a time, and those of one caller: each takes up to 4 MiB until it has arrived.
MAX_RECEIVED, MAX_RECEIVED_OF_ONE = 32, 8
#: Seconds for which no call has to make room. A request usually arrives with its call.
UNDISTURBED_S = 0.1
RETRY_S = 1
#: Calls by the tasks that wait for their requests, in the order of time, and since when each waits.
_Calls: TypeAlias = "dict[asyncio.Task[Any], float]"


@dataclass(frozen=True, slots=True)
class Group:
    """Callers that are one for the quotas, and how many calls they may have whose request has not arrived."""

    key: Hashable
    max_calls: int
    max_of_one: int


class _Caller:
    """One caller's calls, and the places of those whose request is received."""

    __slots__ = ("calls", "places")

    def __init__(self) -> None:
        self.calls: _Calls = {}
        self.places = asyncio.Semaphore(MAX_RECEIVED_OF_ONE)


class UnreadCalls:
    """Receives the requests of one server's calls."""

    def __init__(
        self,
        observer: CutOffObserver,
        *,
        deadline_s: float = REQUEST_DEADLINE_S,
        undisturbed_s: float = UNDISTURBED_S,
    ) -> None:
        self._observer, self._undisturbed_s = observer, undisturbed_s
        self._deadline = SharedDeadline(deadline_s)
        self._groups: dict[Hashable, _Calls] = {}
        self._callers: dict[Hashable, _Caller] = {}
        #: By the group of each.
        self._received: dict[Hashable, _Calls] = {}
        self._places = FairQueue(MAX_RECEIVED)

    async def request(
        self,
        read: Callable[[], Awaitable[object]],
        caller: Hashable,
        group: Group,
        room: Reservation | None = None,
    ) -> bytes:
        """The request of a call, which `read` waits for; something else than bytes means that there is none.
        room: for what a large one has in memory until the call has ended; None without such a bound.

        Raises ClientTooSlow, LimitReached, and InvalidArgument when there is none."""
        try:
            request = await self._deadline.limit(self._request(read, caller, group, room))
        except TimeoutError:
            self._observer.on_cut_off(LATE_REQUEST)
            raise ClientTooSlow("the request took too long to arrive") from None
        except LimitReached:
            self._observer.on_cut_off(UNREAD_CALLS)
            raise
        if not isinstance(request, bytes):
            raise InvalidArgument({"body": "must be a serialised message of this method's request"})
        return request

    async def _request(
        self, read: Callable[[], Awaitable[object]], caller: Hashable, group: Group, room: Reservation | None
    ) -> object:
        of_group = self._groups.get(group.key)
        if of_group is None:
            of_group = self._groups[group.key] = {}
        of_caller = self._callers.get(caller)
        if of_caller is None:
            of_caller = self._callers[caller] = _Caller()
        task, now = asyncio.current_task(), asyncio.get_running_loop().time()
        assert task is not None
        try:
            too_many = len(of_caller.calls) >= group.max_of_one
            if too_many or (len(of_group) >= group.max_calls and not self._end_oldest(of_group, now)):
                raise LimitReached("too many calls have not sent their request", retry_after_s=RETRY_S)
            of_group[task] = of_caller.calls[task] = now
            await of_caller.places.acquire()
            try:
                return await self._receive(task, read, group.key, room)
            finally:
                of_caller.places.release()
        finally:
            of_group.pop(task, None)
            of_caller.calls.pop(task, None)
            if not of_group:
                self._groups.pop(group.key, None)
            if not of_caller.calls:
                self._callers.pop(caller, None)

    async def _receive(
        self,
        task: asyncio.Task[Any],
        read: Callable[[], Awaitable[object]],
        group: Hashable,
        room: Reservation | None,
    ) -> object:
        """Read the request, in a place among those that are received, which a large one has until there is
        room for it."""
        # Usually there is one, and no timer is needed.
        if not self._places.take_now(group):
            await self._take_place(group)
        received = self._received.setdefault(group, {})
        received[task] = asyncio.get_running_loop().time()
        try:
            request = await read()
            if room is not None and isinstance(request, bytes) and len(request) > SMALL_BYTES:
                await room.resize(len(request) * REQUEST_COPIES)
            return request
        finally:
            received.pop(task, None)
            if not received:
                self._received.pop(group, None)
            self._places.give_back(group)

    async def _take_place(self, group: Hashable) -> None:
        """Wait for a place: the oldest request that does not arrive, of the group with most, makes room."""
        while True:
            try:
                async with asyncio.timeout(self._undisturbed_s):
                    await self._places.take(group)
                return
            except TimeoutError:
                if most := max(self._received.values(), key=len, default=None):
                    self._end_oldest(most, asyncio.get_running_loop().time())

    def _end_oldest(self, among: _Calls, now: float) -> bool:
        """End the oldest call, and count it no longer. Returns False when it has just begun."""
        task, since = next(iter(among.items()))
        if now - since < self._undisturbed_s:
            return False
        del among[task]
        self._deadline.expire(task)
        return True
