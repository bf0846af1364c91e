"""Files in the columns `proposals.generated_files` and `proposals.rejected_files`, without loss.

jsonb cannot hold U+0000 or lone surrogates. A text that contains any is stored as the base64 of its bytes
(see `server.domain.proposals.files.text_bytes`):

- a field of a file; `escaped` then lists the names of such fields. The text `a`, U+0000, `b` is
  `{"content": ["YQBi"], "encoding": "base64", "escaped": ["content"]}`;
- a path, after the prefix `base64:`. A path that starts with that prefix is also escaped.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.domain.proposals.files import File, parse_file, text_bytes
from server.domain.proposals.paths import PathFault, RejectedFile

#: Marks an escaped path.
PREFIX = "base64:"


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """Columns of a finished proposal: `generated_files`, `file_count` and `rejected_files`."""

    generated: str
    count: int
    rejected: str | None


def files_to_jsonb(files: Mapping[str, File]) -> str:
    """Files as the text of a jsonb value."""
    return json.dumps({_escape_path(path): _file_to_json(file) for path, file in files.items()})


def files_from_jsonb(text: str | None) -> dict[str, File]:
    """The files from the text that `files_to_jsonb` returns; none for null."""
    if text is None:
        return {}
    return {_unescape_path(path): _file_from_json(form) for path, form in json.loads(text).items()}


def rejected_to_jsonb(rejected: Sequence[RejectedFile]) -> str | None:
    """Rejected files as the text of a jsonb value, `[[path, code], …]`; None if there are none."""
    if not rejected:
        return None
    return json.dumps([[_escape_path(each.path), each.fault.value] for each in rejected])


def rejected_from_jsonb(text: str | None) -> tuple[RejectedFile, ...]:
    """The files from the text that `rejected_to_jsonb` returns; none for null."""
    if text is None:
        return ()
    return tuple(RejectedFile(_unescape_path(path), PathFault(code)) for path, code in json.loads(text))


def _file_to_json(file: File) -> dict[str, Any]:
    """The legacy form of a file; fields that jsonb cannot hold are escaped."""
    escaped: dict[str, Any] = {}
    if file.is_text and not _fits(file.content):
        escaped["content"] = [_escape(file.content)]
        file = File(file.content, False, file.created_at, file.modified_at)
    for name, time in (("created_at", file.created_at), ("modified_at", file.modified_at)):
        if time is not None and not _fits(text_bytes(time)):
            escaped[name] = _escape(text_bytes(time))
    form = file.legacy_form()
    return {**form, **escaped, "escaped": list(escaped)} if escaped else form


def _file_from_json(form: dict[str, Any]) -> File:
    escaped = form.get("escaped", ())
    for name in ("created_at", "modified_at"):
        if name in escaped:
            form[name] = _unescape(form[name])
    file = parse_file(form)
    if "content" in escaped:
        return File(file.content, True, file.created_at, file.modified_at)
    return file


def _escape_path(path: str) -> str:
    data = text_bytes(path)
    if path.startswith(PREFIX) or not _fits(data):
        return PREFIX + _escape(data)
    return path


def _unescape_path(path: str) -> str:
    return _unescape(path.removeprefix(PREFIX)) if path.startswith(PREFIX) else path


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
