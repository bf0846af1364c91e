"""Serialised events that change text files and nothing else, assembled from their fields.

A run's state frames often say no more. A message object for each takes three times as long. The result is the
same as the library's, which writes fields in the order of their numbers.
"""

from __future__ import annotations

from server.domain.journal.events import Event, FileChange, StateUpdate
from server.encoding.event_batch import DELIMITED, SHORT_VARINTS, VARINT, field_key, varint
from server.wire import messages as m
from server.wire.event_fields import SEQ_KEY, event_keys, shared_fields
from server.wire.text import to_uint32

_UPDATE_KEY = field_key(m.Event.DESCRIPTOR.fields_by_name["state_update"].number, DELIMITED)
_UPDATE, _CHANGE = m.StateUpdate.DESCRIPTOR.fields_by_name, m.FileChange.DESCRIPTOR.fields_by_name
_COUNT_KEY = field_key(_UPDATE["message_count"].number, VARINT)
_FILES_KEY = field_key(_UPDATE["files"].number, DELIMITED)
_PATH_KEY, _TEXT_KEY, _SHA256_KEY, _CREATED_KEY, _MODIFIED_KEY = (
    field_key(_CHANGE[name].number, DELIMITED)
    for name in ("path", "text", "sha256", "created_at", "modified_at")
)
_KIND_KEY, _SIZE_KEY = (field_key(_CHANGE[name].number, VARINT) for name in ("kind", "size_bytes"))
_ADDED, _MODIFIED = (
    _KIND_KEY + varint(kind)
    for kind in (m.FileChangeKind.FILE_CHANGE_KIND_ADDED, m.FileChangeKind.FILE_CHANGE_KIND_MODIFIED)
)
assert _PATH_KEY < _KIND_KEY < _TEXT_KEY < _SHA256_KEY < _SIZE_KEY < _CREATED_KEY < _MODIFIED_KEY
assert _COUNT_KEY < _FILES_KEY


def file_keys() -> dict[str, bytes]:
    """The keys of the fields that `server/compiled/rust` writes, by its names for them. That of `modified`
    has the field's value, too."""
    return {
        **event_keys(),
        "state_update": _UPDATE_KEY,
        "message_count": _COUNT_KEY,
        "files": _FILES_KEY,
        "path": _PATH_KEY,
        "modified": _MODIFIED,
        "text": _TEXT_KEY,
        "sha256": _SHA256_KEY,
        "size_bytes": _SIZE_KEY,
        "created_at": _CREATED_KEY,
        "modified_at": _MODIFIED_KEY,
    }


def serialised(event: Event) -> bytes | None:
    """The event as `EventCodec.encode` gives it, if it only changes text files whose texts UTF-8 can encode;
    None for another one."""
    kind = event.kind
    if (
        not isinstance(kind, StateUpdate)
        or not kind.files
        or kind.messages
        or kind.todos is not None
        or kind.extra
        or kind.unread_files
    ):
        return None
    parts = [_COUNT_KEY, varint(to_uint32(kind.message_count))] if kind.message_count > 0 else []
    try:
        for change in kind.files:
            fields = _fields(change)
            if fields is None:
                return None
            parts += (_FILES_KEY, _varint(sum(map(len, fields))), *fields)
    except UnicodeError:
        return None
    size = sum(map(len, parts))
    head = (SEQ_KEY, _varint(event.seq), shared_fields(event.epoch, event.time), _UPDATE_KEY, _varint(size))
    return b"".join((*head, *parts))


def _fields(change: FileChange) -> list[bytes] | None:
    """The fields of a changed text file; None for another change. Raises UnicodeError."""
    file = change.file
    if file is None or not file.is_text or file.extra or not change.path:
        return None
    content, path, sha256 = file.content, change.path.encode(), file.sha256.encode()
    if not content.isascii():
        content.decode()
    fields = [_PATH_KEY, _varint(len(path)), path, _ADDED if change.added else _MODIFIED]
    fields += (_TEXT_KEY, _varint(len(content)), content, _SHA256_KEY, _varint(len(sha256)), sha256)
    if content:
        fields += (_SIZE_KEY, _varint(len(content)))
    for key, time in ((_CREATED_KEY, file.created_at), (_MODIFIED_KEY, file.modified_at)):
        if time is not None:
            if not time:
                # One that is empty is not the same as none.
                return None
            text = time.encode()
            fields += (key, _varint(len(text)), text)
    return fields


def _varint(number: int) -> bytes:
    return SHORT_VARINTS[number] if number < len(SHORT_VARINTS) else varint(number)
