"""Lists that are read page by page, from a server that may not be the hub: they come to an end."""

from __future__ import annotations

from typing import Any

from ide_orchestrator.client.errors import Fault

#: The most characters of a cursor. Those of the hub name a place in a list, by a path at most.
MAX_CURSOR = 16 << 10
#: Pages in a row without an item. The hub sends none but the last one.
MAX_EMPTY_PAGES = 100


class Pages:
    """The pages of one list that were read. name: the server's, for errors."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen: set[int] = set()
        self._empty = 0

    def next_cursor(self, cursor: Any, items: int) -> str | None:
        """The cursor of the page after one with so many items; None after the last one.

        Raises Fault for a list that has no end: its cursors come again, or its pages are empty.
        """
        if cursor is None or cursor == "":
            return None
        if not isinstance(cursor, str) or len(cursor) > MAX_CURSOR:
            raise Fault(f"{self._name} does not answer as the hub does: it gives a cursor that is none")
        self._empty = 0 if items else self._empty + 1
        # A hash takes the same memory for each cursor. Two that are equal by chance are not to be expected.
        if hash(cursor) in self._seen or self._empty > MAX_EMPTY_PAGES:
            raise Fault(f"{self._name} does not answer as the hub does: its list does not end")
        self._seen.add(hash(cursor))
        return cursor
