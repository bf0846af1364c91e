"""The agent's todo list, from the `todos` value of a state frame."""

from __future__ import annotations

from server.domain.journal.events import Todo
from server.frames import raw_json
from server.frames.digests import digest_of_texts, short


class TodoList:
    """The todo list of a run, read from the `todos` value of each state frame."""

    def __init__(self) -> None:
        #: The digest of the todos.
        self._todos: bytes | None = None
        #: The last value or its digest, so that an unchanged one is not read again. Whether it was all read.
        self._text = b""
        self._complete = False

    def read(self, text: bytes) -> tuple[tuple[Todo, ...] | None, bool]:
        """Apply the next value. Returns the todos if they changed, and whether they are all of the value."""
        value = short(text)
        if value == self._text:
            return None, self._complete
        todos, complete = _read(text)
        self._text, self._complete = value, complete
        if todos is None:
            return None, complete
        digest = digest_of_texts(text for todo in todos for text in (todo.content, todo.status))
        if digest == self._todos:
            return None, complete
        self._todos = digest
        return todos, complete


def _read(text: bytes) -> tuple[tuple[Todo, ...] | None, bool]:
    """The todos, None when the value is not a todo list; and whether they are all of the value."""
    items = raw_json.items(text) if text[:1] == b"[" else None
    if items is None:
        return None, False
    found, plain = [], True
    for item in items:
        fields = raw_json.members(item) or {}
        content, status = raw_json.string(fields.get("content")), raw_json.string(fields.get("status"))
        if content is None or status is None:
            return None, False
        plain = plain and len(fields) == 2
        found.append(Todo(content, status))
    return tuple(found), plain
