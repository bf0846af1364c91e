"""A block of content while it is read: what its kind has of it, and the rest, so that nothing is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.frames.literals import json_text

#: Members that say what an object is. They say nothing where the object was read.
_LABELS = {"type": str, "source_type": str, "index": int}
#: Readers take nothing from below.
_MAX_DEPTH = 8


class Block:
    """A block, and which members of the objects and lists in it have been taken."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self.members = members
        self._taken: set[tuple[int, str | int]] = set()

    @property
    def untouched(self) -> bool:
        """Whether nothing has been taken."""
        return not self._taken

    def take(self, container: Any, key: str | int) -> Any:
        """The member of an object or list in the block, which is taken with all that it has."""
        self._taken.add((id(container), key))
        return container[key]

    def word(self, container: Any, *keys: str) -> str:
        """The first of the members that is a string with something in it, which is taken; else empty."""
        for key in keys if isinstance(container, dict) else ():
            value = container.get(key)
            if isinstance(value, str) and value:
                return str(self.take(container, key))
        return ""

    def rest(self, *known: str) -> str:
        """What has not been taken, as JSON text of an object; empty when there is nothing. known: members of
        the block that say nothing more."""
        members = self.members
        left = {
            key: value
            for key, value in members.items()
            if key not in known and (id(members), key) not in self._taken
        }
        rest = self._rest(left, 0)
        return json_text(rest) if rest else ""

    def _rest(self, value: Any, depth: int) -> Any:
        """The value without what was taken and without what is empty; None when nothing is left."""
        if not isinstance(value, dict | list) or depth == _MAX_DEPTH:
            return None if value in ("", [], {}) else value
        if isinstance(value, list):
            items = (item for at, item in enumerate(value) if (id(value), at) not in self._taken)
            return [left for item in items if (left := self._rest(item, depth + 1)) is not None] or None
        found = {
            key: left
            for key, item in self._entries(value)
            if (left := self._rest(item, depth + 1)) is not None
        }
        return found or None

    def _entries(self, value: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """The members that were not taken; without labels when another one was."""
        found = [(key, item) for key, item in value.items() if (id(value), key) not in self._taken]
        if len(found) < len(value):
            found = [(key, item) for key, item in found if type(item) is not _LABELS.get(key)]
        return found
