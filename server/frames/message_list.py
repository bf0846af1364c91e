"""The message list of a run, read from the `messages` value of each state frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from hashlib import blake2b

from server.domain.journal.events import AgentMessage, MessageChange
from server.frames import raw_json, structure
from server.frames.messages import as_text, from_json, from_printed, from_text
from server.frames.printed_list import Items, items

#: Maximum number of messages in a list: each takes some ten microseconds to read.
MAX_MESSAGES = 100_000


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

    def read(self, raw: bytes) -> tuple[MessageChange, ...]:
        """Read the next value. Returns the messages that are new or differ."""
        if raw == self._raw:
            return ()
        added = self._extended(raw)
        if added is None:
            first, (read, found, text) = 0, _items(raw)
        else:
            first, read, (found, text) = len(self._sources), from_printed, added
        same = self._read is read
        sources = self._sources[:first] + found.texts
        messages, changes = self.messages[:first], []
        for index in range(first, len(sources)):
            old = self.messages[index] if index < len(self.messages) else None
            if old is not None and same and _is_same(self._sources[index], sources[index]):
                messages.append(old)
                continue
            call = found.calls[index - first] if found.calls else None
            message = read(sources[index]) if call is None else from_printed(sources[index], call)
            messages.append(message)
            if old is None or not _is_same(old, message):
                changes.append(MessageChange(index, message))
        self._raw, self._read, self._sources, self.messages = raw, read, sources, messages
        self.size_bytes = 2 * len(raw)
        self._regular = found.calls is not None
        if added is None:
            self._chars = self._marks = 0
        if self._regular:
            self._chars += len(text)
            self._marks += structure.marks(text)
        return tuple(changes)

    def forget(self) -> None:
        """Drop the value, its messages and their sources; digests tell what is the same in the next value."""
        self._raw = b""
        self._sources = list(map(_Digest.of, self._sources))
        self.messages = list(map(_Digest.of, self.messages))
        self.size_bytes = 0

    def _extended(self, raw: bytes) -> tuple[Items, str] | None:
        """The items that `raw` adds to the last printed list, and their text; None when it does not extend
        it."""
        if not self._regular or not self._sources:
            return None
        # The scan of the old text found it regular, so it is complete without its `]"`.
        cut = len(self._raw) - 2
        if self._raw[cut:] != b']"' or raw[cut : cut + 2] != b", " or not raw.startswith(self._raw[:cut]):
            return None
        added = raw_json.string(b'"[' + raw[cut + 2 :])
        if added is None or self._is_too_complex_with(added):
            return None
        found = items(added)
        return (found, added) if found is not None and found.calls is not None else None

    def _is_too_complex_with(self, added: str) -> bool:
        """Whether the list with this behind it may be too complex to be read. Then it is read anew, which
        tells: what is read must not depend on how the list grew."""
        chars, marks = self._chars + len(added), self._marks + structure.marks(added)
        return chars > structure.MAX_PRINTED_CHARS or marks > structure.MAX_MEMBERS


def _is_same(known: AgentMessage | str, value: AgentMessage | str) -> bool:
    """Whether a message, or a source, is the one that was there before."""
    return known == (_Digest.of(value) if isinstance(known, _Digest) else value)


def _items(raw: bytes) -> tuple[Callable[[str], AgentMessage], Items, str]:
    """The function that reads a message of the value, the value's items, and the value's text if it is
    printed. A value that is too complex to read becomes one text."""
    text = raw_json.string(raw)
    if raw[:1] == b"{":
        return from_json, Items([raw.decode()], None), ""
    if text is None:
        listed = raw_json.items(raw) or []
        if len(listed) <= MAX_MESSAGES and not any(map(structure.is_message_too_complex, listed)):
            return from_json, Items([item.decode() for item in listed], None), ""
        return as_text, Items([raw.decode()], None), ""
    if structure.are_printed_messages_too_complex(text):
        return as_text, Items([text], None), text
    found = items(text)
    return (from_text, Items([text], None), text) if found is None else (from_printed, found, text)
