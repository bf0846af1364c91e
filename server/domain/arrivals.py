"""A queue at a port: known callers take turns, and strangers have half of the turns at most (ADR 0073).

The caller of a new connection is known only after its first request, and what it presents may be invented. A
flood of strangers on a thousand connections would keep everybody waiting for a thousand turns. Here:

1. The items of each known caller are a group, and these groups take turns; all share links of a user are one
   (`Principal.memory_id`). What a connection sends belongs to the caller who was last identified on it.
2. Strangers' connections are groups, too. The newest one and the one whose turn was longest ago take turns:
   who comes during a flood does not wait for all of it.
3. Beyond its bounds the queue drops items: the newest of a known caller, and of a stranger's connection that
   has several. What waits alone is dropped last.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from server.domain.round_robin import RoundRobin

T = TypeVar("T")
#: Connections of strangers of which one that has several items is looked for.
_SEARCHED = 64


@dataclass(frozen=True, slots=True)
class Stranger:
    """The group of a connection whose caller is not known."""

    connection: Hashable


class Arrivals(Generic[T]):
    """The items that wait. max_strangers: those of all strangers; max_of_caller: those of one caller."""

    def __init__(self, *, max_strangers: int, max_of_caller: int) -> None:
        self._max_strangers, self._max_of_caller = max_strangers, max_of_caller
        self._known: RoundRobin[T] = RoundRobin()
        #: In the order in which they came, or had their last turn.
        self._strangers: OrderedDict[Hashable, deque[T]] = OrderedDict()
        #: The strangers that had no turn yet, in the order in which they came.
        self._new: dict[Hashable, None] = {}
        self._strangers_count = 0
        self._strangers_next = self._newest_next = False

    def __len__(self) -> int:
        return len(self._known) + self._strangers_count

    def put(self, group: Hashable, item: T) -> T | None:
        """Add an item of a known caller's group, or of a Stranger. Returns the item that is dropped for it,
        which may be itself."""
        if not isinstance(group, Stranger):
            if self._known.count_of(group) >= self._max_of_caller:
                return item
            self._known.put(group, item)
            return None
        dropped = None
        if self._strangers_count >= self._max_strangers:
            if group in self._strangers:
                return item
            dropped = self._drop()
        if group not in self._strangers:
            self._strangers[group] = deque()
            self._new[group] = None
        self._strangers[group].append(item)
        self._strangers_count += 1
        return dropped

    def identify(self, connection: Hashable, group: Hashable) -> None:
        """A stranger's connection turned out to be a known caller's: so is what waits from it."""
        items = self._strangers.pop(Stranger(connection), None)
        if items is not None:
            self._new.pop(Stranger(connection), None)
            self._strangers_count -= len(items)
            for item in items:
                self._known.put(group, item)

    def take(self) -> T:
        """Remove the item whose turn it is. Raises KeyError when there is none."""
        strangers = bool(self._strangers) and (self._strangers_next or not self._known)
        self._strangers_next = not strangers
        if strangers:
            self._newest_next = not self._newest_next
            return self._take_stranger(newest=self._newest_next)
        return self._known.take()

    def _take_stranger(self, *, newest: bool) -> T:
        group = next(reversed(self._new) if newest and self._new else iter(self._strangers))
        self._new.pop(group, None)
        items = self._strangers.pop(group)
        item = items.popleft()
        if items:
            self._strangers[group] = items
        self._strangers_count -= 1
        return item

    def _drop(self) -> T:
        """Remove an item, so that a stranger's first one has a place."""
        for items in islice(self._strangers.values(), _SEARCHED):
            if len(items) > 1:
                self._strangers_count -= 1
                return items.pop()
        return self._take_stranger(newest=False)

    def clear(self) -> None:
        """Remove all items."""
        self._known.clear()
        self._strangers.clear()
        self._new.clear()
        self._strangers_count = 0
