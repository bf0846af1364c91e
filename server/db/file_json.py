"""Files in the columns `proposals.generated_files` and `rejected_files`, and back, without loss.

jsonb holds neither U+0000 nor lone surrogates. What has any of them is kept as the base64 of its
bytes (a text's as `server.domain.proposals.files.text_bytes` makes them):

- a file's fields, and then `escaped` lists their names:
  `{"content": ["YQBi"], "encoding": "base64", "escaped": ["content"]}` is the text `a`, U+0000, `b`;
- a path, a rejected one too, behind the prefix `base64:`, as is a path that starts with that prefix.
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


def files_to_jsonb(files: Mapping[str, File]) -> str:
    """The text of a jsonb value for any files."""
    return json.dumps({_path_to_json(path): _file_to_json(file) for path, file in files.items()})


def files_from_jsonb(text: str | None) -> dict[str, File]:
    """The files of what `files_to_jsonb` made; none for null."""
    if text is None:
        return {}
    return {_path_from_json(path): _file_from_json(form) for path, form in json.loads(text).items()}


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """What a finished proposal keeps of its files: the columns' values."""

    generated: str
    count: int
    rejected: str | None


def rejected_to_jsonb(rejected: Sequence[RejectedFile]) -> str | None:
    """The text of a jsonb value, `[[path, code], …]`; None for none."""
    if not rejected:
        return None
    return json.dumps([[_path_to_json(each.path), each.fault.value] for each in rejected])


def rejected_from_jsonb(text: str | None) -> tuple[RejectedFile, ...]:
    """The files of what `rejected_to_jsonb` made."""
    told = json.loads(text) if text is not None else ()
    return tuple(RejectedFile(_path_from_json(path), PathFault(code)) for path, code in told)


def _fits(data: bytes) -> bool:
    """Whether jsonb holds the text of these bytes."""
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _escape(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unescape(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _path_to_json(path: str) -> str:
    data = text_bytes(path)
    if path.startswith(PREFIX) or not _fits(data):
        return PREFIX + _escape(data)
    return path


def _path_from_json(path: str) -> str:
    if path.startswith(PREFIX):
        return _unescape(path.removeprefix(PREFIX)).decode("utf-8", "surrogatepass")
    return path


def _file_to_json(file: File) -> dict[str, Any]:
    """The seed's form, with what does not fit escaped."""
    escaped: dict[str, Any] = {}
    if file.is_text and not _fits(file.content):
        escaped["content"] = [_escape(file.content)]
    for name, time in (("created_at", file.created_at), ("modified_at", file.modified_at)):
        if time is not None and not _fits(text_bytes(time)):
            escaped[name] = _escape(text_bytes(time))
    if "content" in escaped:
        file = File(file.content, False, file.created_at, file.modified_at)
    form = file.legacy_form()
    return {**form, **escaped, "escaped": list(escaped)} if escaped else form


def _file_from_json(form: dict[str, Any]) -> File:
    escaped = form.get("escaped", ())
    for name in ("created_at", "modified_at"):
        if name in escaped:
            form[name] = _unescape(form[name]).decode("utf-8", "surrogatepass")
    file = parse_file(form)
    if "content" in escaped:
        return File(file.content, True, file.created_at, file.modified_at)
    return file
