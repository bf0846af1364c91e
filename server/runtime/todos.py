"""The agent's todo list, from the `todos` value of a state frame."""

from __future__ import annotations

from server.domain.journal.events import Todo
from server.runtime import jsontext


def read_todos(text: bytes) -> tuple[tuple[Todo, ...] | None, bool]:
    """The todos, None when the value is not a todo list; and whether they are all of the value."""
    items = jsontext.items(text) if text[:1] == b"[" else None
    if items is None:
        return None, False
    found, plain = [], True
    for item in items:
        fields = jsontext.members(item) or {}
        content, status = jsontext.string(fields.get("content")), jsontext.string(fields.get("status"))
        if content is None or status is None:
            return None, False
        plain = plain and len(fields) == 2
        found.append(Todo(content, status))
    return tuple(found), plain
