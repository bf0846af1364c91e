"""A queue that serves groups in turn: a group with many items does not keep the others waiting."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class RoundRobin(Generic[T]):
    """The items of each group. A group is, for example, a caller or a connection."""

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def count_of(self, group: Hashable) -> int:
        """The number of a group's items."""
        return len(self._groups.get(group, ()))

    def put(self, group: Hashable, item: T) -> None:
        """Add an item."""
        self._groups.setdefault(group, deque()).append(item)
        self._count += 1

    def take(self) -> T:
        """Remove the oldest item of the group whose turn it is. Raises KeyError when there is none."""
        group, items = self._groups.popitem(last=False)
        item = items.popleft()
        if items:
            self._groups[group] = items
        self._count -= 1
        return item

    def clear(self) -> None:
        """Remove all items."""
        self._groups.clear()
        self._count = 0
