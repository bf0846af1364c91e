"""Files in the columns `proposals.generated_files` and `proposals.rejections`, without loss.

A file is its legacy form (`content`, `encoding`, `created_at`, `modified_at`), with the hash of its content,
its marks of portability if it has any, and the runtime's other members under `extra`, each as JSON text.

jsonb cannot hold U+0000 or lone surrogates. A text that contains any is stored as the base64 of its bytes
(see `server.domain.proposals.files.text_bytes`):

- a field of a file; `escaped` then lists the names of such fields. The text `a`, U+0000, `b` is
  `{"content": ["YQBi"], "encoding": "base64", "escaped": ["content"]}`;
- a path, and the name of another member, after the prefix `base64:`. A name that starts with that prefix is
  also escaped.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from server.domain.proposals.files import File, ListedFile, text_bytes
from server.domain.proposals.partition import ProposalFiles, RejectedFile
from server.encoding.json_text import dump, escape_lines_in_ascii

#: Marks an escaped path or name.
PREFIX = "base64:"
_TIMES = ("created_at", "modified_at")
_ENCODE = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """Columns of a finished proposal: `generated_files`, `file_count` and `rejections`."""

    generated: str
    count: int
    rejected: str | None

    @classmethod
    def of(cls, files: ProposalFiles) -> StoredFiles:
        """The columns for the files. Takes seconds for the largest sets."""
        generated = files_to_jsonb(files.kept, files.portability)
        return cls(generated, len(files.kept), rejected_to_jsonb(files.rejected))


def files_to_jsonb(files: Mapping[str, File], portability: Mapping[str, Sequence[str]] | None = None) -> str:
    """Files with their marks as the text of a jsonb value."""
    # A text of many mebibytes is escaped a part at a time. In ASCII a character takes a byte; one that is not
    # has each of them take up to four.
    return "".join([part.decode("ascii") for part in _parts(files, portability or {})])


def _parts(files: Mapping[str, File], marks: Mapping[str, Sequence[str]]) -> Iterator[bytes]:
    before = b"{"
    for path, file in files.items():
        yield before + dump(escape_name(path)) + b":{"
        yield from _members(file, marks.get(path, ()))
        before = b"},"
    yield b"}}" if files else b"{}"


def _members(file: File, portability: Sequence[str]) -> Iterator[bytes]:
    """The members of a file's JSON, in parts; the fields that jsonb cannot hold are escaped."""
    escaped = []
    if file.is_text and not _fits(file.content):
        escaped.append("content")
        file = replace(file, is_text=False)
    yield from file.content_json_parts(_escape_lines)
    for name, time in file.times.items():
        if not _fits(text_bytes(time)):
            escaped.append(name)
            time = _escape(text_bytes(time))
        yield b"," + dump(name) + b":" + dump(time)
    yield b',"sha256":' + dump(file.sha256)
    if file.extra:
        yield b',"extra":' + dump({escape_name(name): text for name, text in file.extra.items()})
    if portability:
        yield b',"portability":' + dump(list(portability))
    if escaped:
        yield b',"escaped":' + dump(escaped)


def _escape_lines(text: str) -> bytes:
    """As `escape_lines_in_ascii`. Most texts are ASCII: they take a fifth of the time."""
    return _ENCODE(text.split("\n"))[2:-2] if text.isascii() else escape_lines_in_ascii(text)


def files_from_jsonb(text: str | None) -> dict[str, File]:
    """The files from the text that `files_to_jsonb` returns; none for null."""
    if text is None:
        return {}
    return {unescape_name(path): file_from_json(form) for path, form in json.loads(text).items()}


def file_from_json(form: Mapping[str, Any], content: bytes | None = None) -> File:
    """The file of a stored form. content: its content, when it is known from elsewhere."""
    escaped = form.get("escaped", ())
    binary = form.get("encoding") == "base64"
    if content is None:
        text = "\n".join(form["content"])
        content = base64.b64decode(text, validate=True) if binary else text_bytes(text)
    created_at, modified_at = (
        _unescape(form[name]) if name in escaped else form.get(name) for name in _TIMES
    )
    extra = {unescape_name(name): text for name, text in form.get("extra", {}).items()}
    return File(content, not binary or "content" in escaped, created_at, modified_at, extra)


def listed_file_from_json(form: Mapping[str, Any], size_bytes: int | None) -> ListedFile:
    """The file of a stored form without its content. size_bytes: None for a form with a content, which has no
    hash."""
    if size_bytes is None:
        return ListedFile.of(file_from_json(form))
    file = file_from_json(form, b"")
    return ListedFile(form["sha256"], size_bytes, file.created_at, file.modified_at)


def rejected_to_jsonb(rejected: Sequence[RejectedFile]) -> str | None:
    """Rejected files as the text of a jsonb value, `[[path, reason, sha256, size], …]`; None if there are
    none."""
    if not rejected:
        return None
    return json.dumps(
        [[escape_name(each.path), each.reason, each.sha256, each.size_bytes] for each in rejected]
    )


def rejected_from_jsonb(text: str | None) -> tuple[RejectedFile, ...]:
    """The files from the text that `rejected_to_jsonb` returns; none for null. The first release stored paths
    and reasons alone, in `rejected_files`."""
    if text is None:
        return ()
    return tuple(RejectedFile(unescape_name(path), *rest) for path, *rest in json.loads(text))


def unescape_name(text: str) -> str:
    """The path or name that is stored as the text."""
    return _unescape(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else text


def escape_name(path: str) -> str:
    """A path as text that jsonb can hold; `unescape_name` gives it back."""
    data = text_bytes(path)
    if path.startswith(PREFIX) or not _fits(data):
        return PREFIX + _escape(data)
    return path


def _fits(data: bytes) -> bool:
    """Whether jsonb can hold the text with these bytes."""
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _escape(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unescape(text: str) -> str:
    return base64.b64decode(text, validate=True).decode("utf-8", "surrogatepass")
