"""Shared memory: a bound for all, what was not read for the longest time goes first."""

from __future__ import annotations

from server.domain.streams.shared_memory import SharedMemory


class Item:
    def __init__(self, name: str, size_bytes: int) -> None:
        self.name, self.size_bytes, self.recently_read = name, size_bytes, False


class Shelf:
    """An owner that keeps what it owns in a memory."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory, self.items = memory, list[Item]()

    def put(self, name: str, size_bytes: int = 10) -> Item:
        item = Item(name, size_bytes)
        self.items.append(item)
        self._memory.add(item, self)
        return item

    def drop(self, item: Item) -> None:
        self.items.remove(item)

    @property
    def names(self) -> str:
        return "".join(item.name for item in self.items)


def test_the_oldest_goes_first_whoever_owns_it() -> None:
    memory = SharedMemory(30)
    one, other = Shelf(memory), Shelf(memory)
    for shelf, name in [(one, "a"), (other, "b"), (one, "c"), (other, "d")]:
        shelf.put(name)
    assert (one.names, other.names, memory.used_bytes) == ("c", "bd", 30)


def test_what_was_read_stays_longer_than_what_was_not() -> None:
    memory = SharedMemory(30)
    shelf = Shelf(memory)
    shelf.put("a").recently_read = True
    shelf.put("b")
    shelf.put("c")
    shelf.put("d")
    assert shelf.names == "acd"
    shelf.put("e")
    shelf.put("f")
    assert shelf.names == "aef"
    # It was read once, and not since.
    shelf.put("g")
    assert shelf.names == "efg"


def test_growth_counts_and_makes_others_go() -> None:
    memory = SharedMemory(30)
    shelf = Shelf(memory)
    shelf.put("a")
    item = shelf.put("b")
    item.size_bytes += 15
    memory.grow(item, 15)
    assert (shelf.names, memory.used_bytes) == ("b", 25)


def test_one_item_is_kept_however_large_it_is() -> None:
    memory = SharedMemory(30)
    shelf = Shelf(memory)
    shelf.put("a")
    shelf.put("b", 100)
    assert (shelf.names, memory.used_bytes) == ("b", 100)
    shelf.put("c")
    assert (shelf.names, memory.used_bytes) == ("c", 10)


def test_what_is_removed_is_counted_no_longer_and_never_dropped() -> None:
    memory = SharedMemory(30)
    shelf = Shelf(memory)
    item = shelf.put("a")
    memory.remove(item)
    memory.remove(item)
    memory.grow(item, 5)
    assert memory.used_bytes == 0
    for name in "bcde":
        shelf.put(name)
    assert (shelf.names, memory.used_bytes) == ("acde", 30)


def test_items_that_were_all_read_go_too() -> None:
    memory = SharedMemory(1000)
    shelf = Shelf(memory)
    for number in range(2000):
        shelf.put(chr(number + 64)).recently_read = True
    assert memory.used_bytes <= 1000
    assert len(shelf.items) == 100
