"""Files and their changes to and from the contract's messages."""

from __future__ import annotations

from server.domain.journal.events import FileChange
from server.domain.proposals.files import File, text_bytes
from server.encoding.json_text import replace_surrogates
from server.wire import messages as m


def fill_file_change(target: m.FileChange, change: FileChange) -> None:
    """Write a change of a file."""
    target.path = replace_surrogates(change.path)
    file = change.file
    if file is None:
        target.kind = m.FileChangeKind.FILE_CHANGE_KIND_DELETED
        return
    target.kind = (
        m.FileChangeKind.FILE_CHANGE_KIND_ADDED
        if change.added
        else m.FileChangeKind.FILE_CHANGE_KIND_MODIFIED
    )
    fill_content(target, file)


def fill_content(target: m.FileChange | m.GeneratedFile, file: File) -> None:
    """Write a file's content, digest, size, times and mark. The digest is of the file's own bytes."""
    if file.is_text:
        target.text, target.sanitized = file.sanitized_text
    else:
        target.binary = file.content
    target.sha256 = file.sha256
    target.size_bytes = len(file.content)
    target.created_at = replace_surrogates(file.created_at or "")
    target.modified_at = replace_surrogates(file.modified_at or "")


def read_file_change(change: m.FileChange) -> FileChange:
    """The change of a message."""
    content = change.WhichOneof("content")
    if content is None:
        return FileChange(change.path, None)
    file = File(
        text_bytes(change.text) if content == "text" else change.binary,
        content == "text",
        change.created_at or None,
        change.modified_at or None,
    )
    return FileChange(change.path, file, added=change.kind == m.FileChangeKind.FILE_CHANGE_KIND_ADDED)
