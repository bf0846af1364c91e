"""The memory that the readers of all threads of this replica share: one bound in bytes for the process.

What was not read for the longest time is dropped first, by the second-chance algorithm: reading only sets a
flag, so that it costs a reader nothing. What is dropped is read, or made, again when somebody needs it.

Readers also share the turns of the event loop in which that happens (ADR 0073).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, Protocol

from server.domain.loop_time import LoopTime
from server.domain.streams.reader_wakes import ReaderWakes

#: Default bound, in bytes.
MAX_SHARED_BYTES = 64 << 20
#: Items that may keep their place in one go because they were read: bounds the time that it takes.
_CHANCES = 512


class SharedItem(Protocol):
    """Something that readers share."""

    #: Bytes that it keeps in memory.
    size_bytes: int
    #: Set by each reader.
    recently_read: bool


class Owner(Protocol):
    """Holds items, and forgets one when memory is short."""

    def drop(self, item: Any) -> None:
        """Forget the item, which is no longer counted. It may also forget others, and says so."""
        ...


class SharedMemory:
    """The items of all threads, in order of their last chance."""

    def __init__(self, max_bytes: int = MAX_SHARED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._items: OrderedDict[SharedItem, Owner] = OrderedDict()
        #: Bytes of all items.
        self.used_bytes = 0
        #: Held while something large is read and made, before it is counted here: one at a time.
        self.large = asyncio.Lock()
        #: The time in which things are read and made for readers that catch up.
        self.time = LoopTime()
        self.wakes = ReaderWakes()

    def add(self, item: SharedItem, owner: Owner) -> None:
        """Count an item that its owner holds."""
        self._items[item] = owner
        self.used_bytes += item.size_bytes
        if self.used_bytes > self._max_bytes:
            self._shrink()

    def holds(self, item: SharedItem) -> bool:
        """Whether the item is counted."""
        return item in self._items

    def grow(self, item: SharedItem, size_bytes: int) -> None:
        """Count bytes that an item has grown by; nothing if it was dropped meanwhile."""
        if item in self._items:
            self.used_bytes += size_bytes
            if self.used_bytes > self._max_bytes:
                self._shrink()

    def remove(self, item: SharedItem) -> None:
        """Count an item no longer. May be called twice."""
        if self._items.pop(item, None) is not None:
            self.used_bytes -= item.size_bytes

    def _shrink(self) -> None:
        chances = _CHANCES
        # The last item stays, however large: somebody is about to read it.
        while self.used_bytes > self._max_bytes and len(self._items) > 1:
            item, owner = self._items.popitem(last=False)
            if item.recently_read and chances:
                chances -= 1
                item.recently_read = False
                self._items[item] = owner
            else:
                self.used_bytes -= item.size_bytes
                owner.drop(item)
