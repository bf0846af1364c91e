"""The index of the files that a journal's events change (ADR 0036).

Each segment is stored with the entries of its events, one for each changed file; most segments have none. The
entries of an event are made of that event alone, so those of a segment that an earlier release stored are
made when they are first asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from server.domain.journal.events import Event, StateUpdate
from server.domain.journal.file_writers import writers_of
from server.domain.proposals.files import text_bytes
from server.encoding.event_batch import read_varint, varint
from server.encoding.json_text import decode_surrogates

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: What a change left behind: no file, a text, or a file that is not text.
_DELETED, _TEXT, _BINARY = 0, 1, 2
_SHA256_BYTES = 32


@dataclass(frozen=True, slots=True)
class IndexedChange:
    """A file that an event changed, without its content.

    sha256: its hash in lower-case hex; empty when it was deleted. tool_call_id: the call that changed it;
    empty when that is not known. For a reader who does not see the event, seq is 0 and time is None.
    """

    seq: int
    time: datetime | None
    path: str
    sha256: str
    size_bytes: int
    is_text: bool
    tool_call_id: str

    def hidden(self) -> IndexedChange:
        """The change without what it says about its event."""
        return replace(self, seq=0, time=None, tool_call_id="")


def index_entries(event: Event) -> bytes:
    """The entries of an event; empty when it changes no file."""
    kind = event.kind
    if not isinstance(kind, StateUpdate) or not kind.files:
        return b""
    writers = writers_of(kind) if kind.messages else {}
    entries = bytearray()
    entries += varint(event.seq)
    entries += varint(microseconds_of(event.time))
    entries += varint(len(kind.files))
    for change in kind.files:
        _put_text(entries, change.path)
        _put_text(entries, writers.get(change.path, ""))
        file = change.file
        if file is None:
            entries += varint(_DELETED)
        else:
            entries += varint(_TEXT if file.is_text else _BINARY)
            entries += bytes.fromhex(file.sha256)
            entries += varint(len(file.content))
    return bytes(entries)


def microseconds_of(time: datetime) -> int:
    """An event's time in its entries: microseconds since 1970."""
    since = time - _EPOCH
    return max((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds, 0)


def _put_text(entries: bytearray, text: str) -> None:
    data = text_bytes(text)
    entries += varint(len(data))
    entries += data


def read_index(entries: bytes) -> Iterator[IndexedChange]:
    """The changes of entries one after another, in their order."""
    at = 0
    while at < len(entries):
        seq, at = read_varint(entries, at)
        microseconds, at = read_varint(entries, at)
        count, at = read_varint(entries, at)
        time = _EPOCH + microseconds * _MICROSECOND
        for _ in range(count):
            path, at = _read_text(entries, at)
            tool_call_id, at = _read_text(entries, at)
            form, at = read_varint(entries, at)
            sha256, size_bytes = "", 0
            if form != _DELETED:
                sha256 = entries[at : at + _SHA256_BYTES].hex()
                size_bytes, at = read_varint(entries, at + _SHA256_BYTES)
            yield IndexedChange(seq, time, path, sha256, size_bytes, form == _TEXT, tool_call_id)


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    size, at = read_varint(data, at)
    return decode_surrogates(data[at : at + size]), at + size
