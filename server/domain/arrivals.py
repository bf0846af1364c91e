"""A queue at a port: known callers take turns, and strangers have half of the turns at most (ADR 0073).

The caller of a new connection is known only after its first request, and what it presents may be invented. A
flood of strangers on a thousand connections would keep everybody waiting for a thousand turns. Here:

1. The items of each known caller are a group, and these groups take turns; all share links of a user are one
   (`Principal.memory_id`). What a connection sends belongs to the caller who was last identified on it.
2. Strangers' connections are groups, too. The newest one and the one whose turn was longest ago take turns:
   who comes during a flood does not wait for all of it.
3. Beyond its bounds the queue drops items: the newest of a known caller, and of a stranger's connection that
   has more than others. What waits alone is dropped last.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from server.domain.round_robin import RoundRobin

T = TypeVar("T")
_SEVERAL = 2


@dataclass(frozen=True, slots=True)
class Stranger:
    """The group of a connection whose caller is not known. is_new: whether it had no turn yet."""

    connection: Hashable
    is_new: bool = field(default=True, compare=False)


class Arrivals(Generic[T]):
    """The items that wait. max_strangers: those of all strangers; max_of_caller: those of one caller;
    max_known: those of all callers, of whom each has no more than it leaves free."""

    def __init__(self, *, max_strangers: int, max_of_caller: int, max_known: int = sys.maxsize) -> None:
        self._max_strangers, self._max_of_caller = max_strangers, max_of_caller
        self._max_known = max_known
        self._known: RoundRobin[T] = RoundRobin()
        #: In the order in which they came, or had their last turn.
        self._strangers: OrderedDict[Hashable, deque[T]] = OrderedDict()
        #: The strangers that had no turn yet, in the order in which they came.
        self._new: dict[Hashable, None] = {}
        #: The strangers that have several items, in turn.
        self._several: OrderedDict[Hashable, None] = OrderedDict()
        self._strangers_count = 0
        self._strangers_next = self._newest_next = False

    def __len__(self) -> int:
        return len(self._known) + self._strangers_count

    @property
    def strangers(self) -> int:
        """The number of strangers' items."""
        return self._strangers_count

    def put(self, group: Hashable, item: T) -> T | None:
        """Add an item of a known caller's group, or of a Stranger. Returns the item that is dropped for it,
        which may be itself."""
        if not isinstance(group, Stranger):
            left = max(self._max_known - len(self._known), 1)
            if self._known.count_of(group) >= min(self._max_of_caller, left):
                return item
            self._known.put(group, item)
            return None
        items = self._strangers.get(group)
        if items is None:
            items = self._strangers[group] = deque()
            if group.is_new:
                self._new[group] = None
        items.append(item)
        self._strangers_count += 1
        if len(items) == _SEVERAL:
            self._several[group] = None
        return self._drop(group) if self._strangers_count > self._max_strangers else None

    def identify(self, connection: Hashable, group: Hashable) -> Sequence[T]:
        """A stranger's connection turned out to be a known caller's: so is what waits from it. Returns
        what is dropped of that, because the caller has no place for it."""
        return [item for item in self.discard(connection) if self.put(group, item) is not None]

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
        if len(items) < _SEVERAL:
            self._several.pop(group, None)
        self._strangers_count -= 1
        return item

    def _drop(self, group: Hashable) -> T:
        """Remove the newest item of a stranger that has more than this one, or of this one; the oldest item
        when each stranger has one."""
        if not self._several:
            return self._take_stranger(newest=False)
        other = next((each for each in islice(self._several, 2) if each != group), group)
        self._several.move_to_end(other)
        if len(self._strangers[other]) > len(self._strangers[group]):
            group = other
        items = self._strangers[group]
        dropped = items.pop()
        if len(items) < _SEVERAL:
            del self._several[group]
        self._strangers_count -= 1
        return dropped

    def discard(self, connection: Hashable) -> Sequence[T]:
        """Remove what waits of a stranger's connection, and return it."""
        group = Stranger(connection)
        items = self._strangers.pop(group, None)
        if items is None:
            return ()
        self._new.pop(group, None)
        self._several.pop(group, None)
        self._strangers_count -= len(items)
        return items

    def clear(self) -> None:
        """Remove all items."""
        self._known.clear()
        self._strangers.clear()
        self._new.clear()
        self._several.clear()
        self._strangers_count = 0
