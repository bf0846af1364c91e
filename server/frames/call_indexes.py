"""Numbers for the tool calls of a message that is being produced, so that their pieces can be distinguished.

Most runtimes number them. Some give complete calls without a number, or the same number with different ids.
The numbers follow from the tokens before, so that a reader of the journal arrives at the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from server.domain.journal.events import Token, ToolCallPiece
from server.encoding.json_text import replace_surrogates
from server.frames.digests import short_text

_LARGEST_INDEX = 2**32 - 1
#: Messages that are remembered, and tool calls of all of them: the runtime produces a few at a time.
_MAX_MESSAGES, _MAX_CALLS = 64, 1_000


@dataclass(slots=True)
class _Calls:
    """The last calls of one message, by their ids or digests of them."""

    ids: dict[int, str] = field(default_factory=dict)
    indexes: dict[str, int] = field(default_factory=dict)
    latest: int = 0
    unused: int = 0

    def put(self, index: int, call_id: str) -> None:
        known = self.ids.get(index, "")
        if not known:
            self.ids[index] = call_id
        if call_id:
            self.indexes.setdefault(call_id, index)
        self.latest = index
        if self.unused <= index < _LARGEST_INDEX:
            self.unused = index + 1
        if len(self.ids) > _MAX_CALLS:
            del self.ids[next(iter(self.ids))]
        if len(self.indexes) > _MAX_CALLS:
            del self.indexes[next(iter(self.indexes))]


class CallIndexes:
    """The tool calls of the last messages of a run."""

    def __init__(self) -> None:
        self._messages: dict[str, _Calls] = {}

    def number(
        self, message_id: str, chunks: list[dict[str, Any]], *, last: bool
    ) -> tuple[ToolCallPiece, ...]:
        """The pieces of the next token of a message, whose chunks may have an `index`."""
        texts = [tuple(_text(chunk.get(key)) for key in ("id", "name", "args")) for chunk in chunks]
        calls = [
            (call_id, bool(name), chunk.get("index"))
            for chunk, (call_id, name, _) in zip(chunks, texts, strict=True)
        ]
        indexes = self.indexes(message_id, calls, last=last)
        return tuple(ToolCallPiece(index, *of) for index, of in zip(indexes, texts, strict=True))

    def indexes(self, message_id: str, calls: Sequence[tuple[str, bool, object]], *, last: bool) -> list[int]:
        """The numbers of the pieces of the next token of a message. calls: of each piece the call's id,
        whether it has the name, and the number that it brings."""
        message_id, found = _key(message_id), list[int]()
        if calls:
            known = self._calls(message_id)
            for call_id, is_named, given in calls:
                known_as = _key(call_id)
                index = _index(known, given, known_as, is_named=is_named, has_id=bool(message_id))
                known.put(index, known_as)
                found.append(index)
        if last:
            self._messages.pop(message_id, None)
        return found

    def restore(self, token: Token) -> None:
        """Apply a journalled token, in order."""
        message_id = _key(token.message_id)
        if token.tool_calls:
            calls = self._calls(message_id)
            for piece in token.tool_calls:
                calls.put(piece.index, _key(piece.id))
        if token.last:
            self._messages.pop(message_id, None)

    def _calls(self, message_id: str) -> _Calls:
        found = self._messages.pop(message_id, None) or _Calls()
        self._messages[message_id] = found
        count = sum(len(calls.ids) for calls in self._messages.values())
        while len(self._messages) > 1 and (len(self._messages) > _MAX_MESSAGES or count > _MAX_CALLS):
            count -= len(self._messages.pop(next(iter(self._messages))).ids)
        return found


def _index(calls: _Calls, given: object, call_id: str, *, is_named: bool, has_id: bool) -> int:
    """The index of a piece. is_named: it has the call's name. has_id: the message has an id, so that the
    calls before are its own."""
    if type(given) is int and 0 <= given <= _LARGEST_INDEX:
        known = calls.ids.get(given, "")
        if not (has_id and call_id and known) or known == call_id:
            return given
    if call_id in calls.indexes:
        return calls.indexes[call_id]
    if not call_id and not is_named and calls.ids:
        # More of the arguments of the call before.
        return calls.latest
    return calls.unused


def _key(text: str) -> str:
    """The key of a remembered id: the id as the journal has it, or a digest of it if it is long."""
    return short_text(replace_surrogates(text))


def _text(value: object) -> str:
    return str(value) if isinstance(value, str) else ""
