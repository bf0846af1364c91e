"""The message list of a run, read from the `messages` value of each state frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from hashlib import blake2b
from typing import TypeAlias

from server.domain.journal.events import AgentMessage, MessageChange, Role, TokenUsage, ToolCall
from server.frames import raw_json, structure
from server.frames.messages import ROLES, as_text, from_json, from_printed, from_text
from server.frames.printed import Call
from server.frames.printed_list import Items, items

#: Maximum number of messages in a list: each takes some ten microseconds to read.
MAX_MESSAGES = 100_000

#: Class, id, text, calls with id, name and arguments, name, id of the call, status and usage.
PrintedMessage: TypeAlias = tuple[
    str, str, str, list[tuple[str, str, str]], str, str, str, tuple[int, int, int, int, int] | None
]
#: The texts of the items of a regular printed list, each with the message that it is unless only a parser can
#: tell; the list's characters, and its marks (`structure.marks`).
PrintedItems: TypeAlias = tuple[list[tuple[str, PrintedMessage | None]], int, int]
#: Reads such a list from JSON text whose items begin at an index; None if it is not regular.
ReadPrinted: TypeAlias = Callable[[bytes, int], PrintedItems | None]


def left_to_python(raw: bytes, start: int) -> None:
    """Reads nothing: as `ReadPrinted`."""


class _Digest(str):
    """Stands for a message, or a source, that is no longer kept."""

    __slots__ = ()

    @classmethod
    def of(cls, value: AgentMessage | str) -> _Digest:
        """The digest of a message or a source; a digest is its own."""
        if isinstance(value, cls):
            return value
        digest = blake2b(digest_size=32)
        for text in _texts(value):
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d " % len(encoded))
            digest.update(encoded)
        return cls(digest.hexdigest())


def _texts(value: object) -> Iterator[str]:
    """The texts of a message or one of its fields, one by one: `repr` would hold the interpreter for 0.1 s
    while it quotes a text of 15 MiB."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        yield str(len(value))
        for each in value:
            yield from _texts(each)
    elif is_dataclass(value):
        yield type(value).__name__
        for field in fields(value):
            yield from _texts(getattr(value, field.name))
    else:
        yield repr(value)


@dataclass(slots=True)
class _Found:
    """What was found in a value. read: reads an item, texts: the items. calls, messages: what is known of
    them. regular: it is a regular printed list; chars, marks: of its text."""

    read: Callable[[str], AgentMessage]
    texts: list[str]
    calls: Sequence[Call | None] = ()
    messages: Sequence[AgentMessage | None] = ()
    regular: bool = False
    chars: int = 0
    marks: int = 0

    def message(self, index: int) -> AgentMessage:
        """An item's message."""
        known = self.messages[index] if self.messages else None
        if known is not None:
            return known
        call = self.calls[index] if self.calls else None
        return self.read(self.texts[index]) if call is None else from_printed(self.texts[index], call)


class MessageList:
    """The message list of a run, read from the `messages` value of each state frame as JSON text.

    Its content depends on the last value alone; the value before only saves work. A value usually extends
    the one before: then only the new part is read, so that a run takes linear time.
    """

    def __init__(self) -> None:
        self.messages: list[AgentMessage | _Digest] = []
        self._raw = b""
        self._sources: list[str] = []
        self._read: Callable[[str], AgentMessage] = as_text
        #: Whether the last value was a regular printed list, which can be split where it was extended.
        self._regular = False
        #: Characters of such a list, and its marks (`structure.marks`).
        self._chars = self._marks = 0
        #: About the bytes of the sources and of the messages.
        self.size_bytes = 0

    @staticmethod
    def covers(raw: bytes, polled: bool) -> bool:
        """Whether the value lists messages: an array, a string or one message as an object. The sentence of a
        poll summary does not, because it is not part of the agent's conversation."""
        if raw[:1] == b"{":
            return not from_json(raw.decode()).uninterpreted
        return raw[:1] == b"[" or raw[:2] == b'"[' or (raw[:1] == b'"' and not polled)

    def read(self, raw: bytes, compiled: ReadPrinted = left_to_python) -> tuple[MessageChange, ...]:
        """Read the next value. Returns the messages that are new or differ. compiled: reads what it can."""
        if raw == self._raw:
            return ()
        added = self._added(raw, compiled)
        first, found = (0, _items(raw, compiled)) if added is None else (len(self._sources), added)
        same = self._read is found.read
        sources = self._sources[:first] + found.texts
        messages, changes = self.messages[:first], []
        for index in range(first, len(sources)):
            old = self.messages[index] if index < len(self.messages) else None
            if old is not None and same and _is_same(self._sources[index], sources[index]):
                messages.append(old)
                continue
            message = found.message(index - first)
            messages.append(message)
            if old is None or not _is_same(old, message):
                changes.append(MessageChange(index, message))
        self._raw, self._read, self._sources, self.messages = raw, found.read, sources, messages
        self.size_bytes = 2 * len(raw)
        self._regular = found.regular
        if added is None:
            self._chars = self._marks = 0
        self._chars += found.chars
        self._marks += found.marks
        return tuple(changes)

    def forget(self) -> None:
        """Drop the value, its messages and their sources; digests tell what is the same in the next value."""
        self._raw = b""
        self._sources = list(map(_Digest.of, self._sources))
        self.messages = list(map(_Digest.of, self.messages))
        self.size_bytes = 0

    def _added(self, raw: bytes, compiled: ReadPrinted) -> _Found | None:
        """The items that `raw` adds to the last printed list; None when it does not extend it."""
        if not self._regular or not self._sources:
            return None
        # The scan of the old text found it regular, so it is complete without its `]"`.
        cut = len(self._raw) - 2
        if self._raw[cut:] != b']"' or raw[cut : cut + 2] != b", " or not raw.startswith(self._raw[:cut]):
            return None
        found = _compiled(compiled(raw, cut + 2)) or self._added_printed(b'"[' + raw[cut + 2 :])
        if found is None or not found.regular:
            return None
        # Then the list is read anew, which tells whether it is too complex: what is read must not depend on
        # how the list grew.
        chars, marks = self._chars + found.chars, self._marks + found.marks
        return None if chars > structure.MAX_PRINTED_CHARS or marks > structure.MAX_MEMBERS else found

    def _added_printed(self, added: bytes) -> _Found | None:
        text = raw_json.string(added)
        if text is None or self._chars + len(text) > structure.MAX_PRINTED_CHARS:
            return None
        if self._marks + structure.marks(text) > structure.MAX_MEMBERS:
            return None
        found = items(text)
        return None if found is None else _printed(found, text)


def _is_same(known: AgentMessage | str, value: AgentMessage | str) -> bool:
    """Whether a message, or a source, is the one that was there before."""
    return known == (_Digest.of(value) if isinstance(known, _Digest) else value)


def _items(raw: bytes, compiled: ReadPrinted) -> _Found:
    """The items of a value. A value that is too complex to read becomes one text."""
    text = raw_json.string(raw)
    if raw[:1] == b"{":
        return _Found(from_json, [raw.decode()])
    if text is None:
        listed = raw_json.items(raw) or []
        if len(listed) <= MAX_MESSAGES and not any(map(structure.is_message_too_complex, listed)):
            return _Found(from_json, [item.decode() for item in listed])
        return _Found(as_text, [raw.decode()])
    if structure.are_printed_messages_too_complex(text):
        return _Found(as_text, [text])
    if raw[:2] == b'"[' and (regular := _compiled(compiled(raw, 2))) is not None:
        return regular
    found = items(text)
    return _Found(from_text, [text]) if found is None else _printed(found, text)


def _printed(found: Items, text: str) -> _Found:
    """The items of a printed list."""
    if found.calls is None:
        return _Found(from_printed, found.texts)
    return _Found(
        from_printed,
        found.texts,
        found.calls,
        regular=True,
        chars=len(text),
        marks=structure.marks(text),
    )


def _compiled(found: PrintedItems | None) -> _Found | None:
    """The items of a list that compiled code has read."""
    if found is None:
        return None
    listed, chars, marks = found
    return _Found(
        from_printed,
        [text for text, _ in listed],
        messages=[None if members is None else _message(*members) for _, members in listed],
        regular=True,
        chars=chars,
        marks=marks,
    )


def _message(
    word: str,
    id: str,  # noqa: A002 - the member's name
    text: str,
    calls: Sequence[tuple[str, str, str]],
    name: str,
    tool_call_id: str,
    status: str,
    usage: tuple[int, int, int, int, int] | None,
) -> AgentMessage:
    role = ROLES[word]
    return AgentMessage(
        id=id,
        role=role,
        text=text,
        tool_calls=tuple([ToolCall(*call) for call in calls]),
        name=name,
        tool_call_id=tool_call_id,
        status=status if role is Role.TOOL else "",
        usage=None if usage is None else TokenUsage(*usage),
    )
