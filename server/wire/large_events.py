"""Events that are larger than a reader takes: the same event with parts left out (contract: Event).

1. First the contents of files, the largest first; path, digest and size stay.
2. If that is not enough, the event is `truncated`: long texts are cut off, the largest first, and then lists
   lose their last elements. A path is never cut off: it is a key.
3. The result always fits and keeps seq, epoch, time and kind. It is the same for the same event and limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping, MutableSequence
from typing import Any, TypeAlias

from google.protobuf.message import Message

from server.domain.errors import InvalidArgument
from server.wire import messages as m

#: The default size of the largest event, and of a message of several: clients accept 4 MiB by default.
MAX_EVENT_BYTES = 3 << 20
#: The smallest limit that a reader may set.
MIN_EVENT_BYTES = 64 << 10
#: How many bytes are kept of a text that is cut off.
KEPT_TEXT_BYTES = 4 << 10
#: Contents of fewer characters are not left out: it would save next to nothing.
MIN_OMITTED = 64

#: Texts that mean nothing when they are cut off: paths are keys, and an exact value is JSON.
_KEYS = frozenset({"path", "exact"})

#: A text in a message: its size in bytes, and its owner (a message or a map) with its name there.
_Text: TypeAlias = tuple[int, Any, str]


def event_limit(max_event_bytes: int) -> int:
    """The limit that a request sets; 0 means the default. Raises InvalidArgument.

    It is a power of two or the default, so that readers share the few forms of an event.
    """
    if max_event_bytes in (0, MAX_EVENT_BYTES):
        return MAX_EVENT_BYTES
    if max_event_bytes < MIN_EVENT_BYTES:
        raise InvalidArgument({"max_event_bytes": f"must be 0 or at least {MIN_EVENT_BYTES}"})
    return 1 << (max_event_bytes.bit_length() - 1)


def fit_event(event: bytes, max_bytes: int) -> bytes:
    """The serialised event, with parts left out if it has more than `max_bytes`, at least MIN_EVENT_BYTES."""
    if len(event) <= max_bytes:
        return event
    message = m.Event.FromString(event)
    # Set before, because it is a part of the size.
    message.omitted_bytes = len(event)
    _omit_contents(message, message.ByteSize() - max_bytes)
    for shrink in (_cut_texts, _shorten_lists, _keep_kind_alone):
        if message.ByteSize() <= max_bytes:
            break
        message.truncated = True
        shrink(message, message.ByteSize() - max_bytes)
    message.ClearField("omitted_bytes")
    message.omitted_bytes = len(event) - message.ByteSize()
    return message.SerializeToString(deterministic=True)


# --- Each saves `excess` bytes if it can -------------------------------------------------------


def _omit_contents(event: m.Event, excess: int) -> None:
    """Leave out the contents of files."""
    if event.HasField("state_update"):
        omit_contents(event.state_update.files, excess)


def omit_contents(
    files: Iterable[m.FileChange] | Iterable[m.GeneratedFile] | Iterable[m.DraftFile], excess: int
) -> None:
    """Leave out the contents of files, the largest first, until `excess` bytes are saved."""
    sized = [(max(len(file.text), len(file.binary)), file) for file in files]
    for characters, file in sorted(sized, key=lambda pair: pair[0], reverse=True):
        if excess <= 0 or characters < MIN_OMITTED:
            break
        before = file.ByteSize()
        file.ClearField("text")
        file.ClearField("binary")
        if isinstance(file, m.FileChange):
            # It repeats a text that has lone surrogates.
            file.ClearField("exact")
        file.content_omitted = True
        excess -= before - file.ByteSize()


def _cut_texts(event: m.Event, excess: int) -> None:
    """Cut off long texts."""
    for size, owner, name in sorted(_long_texts(event), key=lambda text: text[0], reverse=True):
        if excess <= 0:
            break
        value = owner[name] if isinstance(owner, MutableMapping) else getattr(owner, name)
        kept: Any = (
            value[:KEPT_TEXT_BYTES]
            if isinstance(value, bytes)
            else value.encode()[:KEPT_TEXT_BYTES].decode(errors="ignore")
        )
        if isinstance(owner, MutableMapping):
            owner[name] = kept
        else:
            setattr(owner, name, kept)
        excess -= size - KEPT_TEXT_BYTES


def _long_texts(message: Message) -> Iterator[_Text]:
    """The texts of more than KEPT_TEXT_BYTES in a message, except in lists of texts."""
    for field, value in message.ListFields():
        if isinstance(value, str | bytes):
            if field.name not in _KEYS:
                yield from _if_long(value, message, field.name)
        elif isinstance(value, MutableMapping):
            for key, each in value.items():
                if isinstance(each, str | bytes):
                    yield from _if_long(each, value, key)
        elif isinstance(value, Message):
            yield from _long_texts(value)
        elif isinstance(value, MutableSequence) and field.message_type is not None:
            for each in value:
                if each.ByteSize() > KEPT_TEXT_BYTES:
                    yield from _long_texts(each)


def _if_long(value: str | bytes, owner: Any, name: str) -> Iterator[_Text]:
    # A character has at most four bytes.
    if len(value) * 4 > KEPT_TEXT_BYTES:
        size = len(value if isinstance(value, bytes) else value.encode())
        if size > KEPT_TEXT_BYTES:
            yield size, owner, name


def _shorten_lists(event: m.Event, excess: int) -> None:
    """Take elements off the ends of lists and maps, the largest first."""
    for sizes, elements in sorted(_lists(event), key=lambda each: sum(each[0]), reverse=True):
        kept = len(sizes)
        while kept and excess > 0:
            kept -= 1
            # At least two more for its key and its length.
            excess -= sizes[kept] + 2
        if isinstance(elements, MutableMapping):
            for key in list(elements)[kept:]:
                del elements[key]
        else:
            del elements[kept:]


def _lists(message: Message) -> Iterator[tuple[list[int], Any]]:
    """The lists and maps of a message, except those inside of lists, each with the sizes of its elements."""
    for _, value in message.ListFields():
        if isinstance(value, Message):
            yield from _lists(value)
        elif isinstance(value, MutableMapping):
            yield [_size(key) + _size(each) for key, each in value.items()], value
        elif isinstance(value, MutableSequence):
            yield list(map(_size, value)), value


def _size(value: Any) -> int:
    """The bytes of a value in a message, without its key and length; 0 for a number."""
    if isinstance(value, Message):
        return value.ByteSize()
    return len(value.encode()) if isinstance(value, str) else len(value) if isinstance(value, bytes) else 0


def _keep_kind_alone(event: m.Event, _: int) -> None:
    """Leave out everything, such as fields of a newer version."""
    kind = event.WhichOneof("kind")
    kept = m.Event(
        seq=event.seq,
        epoch=event.epoch,
        create_time=event.create_time,
        omitted_bytes=event.omitted_bytes,
        truncated=True,
    )
    if kind is not None:
        getattr(kept, kind).SetInParent()
    event.CopyFrom(kept)
