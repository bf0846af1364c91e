"""Files and their changes to and from the contract's messages."""

from __future__ import annotations

from typing import Any

from server.domain.journal.events import FileChange
from server.domain.proposals.files import File, text_bytes
from server.encoding.json_text import dump, load, replace_surrogates
from server.wire import messages as m

# Looked up once: it takes half a microsecond.
_DELETED = m.FileChangeKind.FILE_CHANGE_KIND_DELETED
_ADDED, _MODIFIED = m.FileChangeKind.FILE_CHANGE_KIND_ADDED, m.FileChangeKind.FILE_CHANGE_KIND_MODIFIED


def fill_file_change(target: m.FileChange, change: FileChange) -> None:
    """Write a change of a file."""
    target.path = replace_surrogates(change.path)
    file = change.file
    if file is None:
        target.kind = _DELETED
    else:
        target.kind = _ADDED if change.added else _MODIFIED
        fill_content(target, file)
    exact = _exact(target, change)
    if exact:
        target.exact = dump(exact).decode()


def _exact(target: m.FileChange, change: FileChange) -> dict[str, Any]:
    """What the message's other fields do not have exactly."""
    exact: dict[str, Any] = {}
    if target.path != change.path:
        exact["path"] = change.path
    file = change.file
    if file is not None:
        if target.sanitized:
            exact["text"] = file.text
        exact |= {
            name: time for name, time in file.times.items() if not time or getattr(target, name) != time
        }
        if file.extra and target.extra.keys() != file.extra.keys():
            exact["extra"] = dict(file.extra)
    return exact


def fill_content(target: m.FileChange | m.GeneratedFile, file: File, *, omitted: bool = False) -> None:
    """Write a file's content, digest, size, times, mark and other members. The digest is of the file's own
    bytes. omitted: the content is left out."""
    if omitted:
        target.content_omitted = True
        target.sanitized = file.is_text and not _is_utf8(file.content)
    elif file.is_text:
        target.text, target.sanitized = file.sanitized_text
    else:
        target.binary = file.content
    target.sha256 = file.sha256
    target.size_bytes = len(file.content)
    target.created_at = replace_surrogates(file.created_at or "")
    target.modified_at = replace_surrogates(file.modified_at or "")
    for name, text in file.extra.items():
        target.extra[replace_surrogates(name)] = replace_surrogates(text)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_file_change(change: m.FileChange) -> FileChange:
    """The change of a message."""
    exact = load(change.exact) if change.exact else {}
    path = exact.get("path", change.path)
    content = change.WhichOneof("content")
    if content is None:
        return FileChange(path, None)
    file = File(
        text_bytes(exact.get("text", change.text)) if content == "text" else change.binary,
        content == "text",
        exact.get("created_at", change.created_at or None),
        exact.get("modified_at", change.modified_at or None),
        exact.get("extra") or dict(change.extra),
    )
    return FileChange(path, file, added=change.kind == _ADDED)
