"""The runtime's file map: its entries as JSON text, and the files that they are.

A map with one value that JSON cannot express, such as bytes, comes in Python's printed form.
"""

from __future__ import annotations

import ast
import base64
import re
from collections.abc import Mapping
from typing import Any

from server.domain.proposals.files import File, NotAFile, parse_file
from server.encoding.json_text import dump
from server.frames import literals, raw_json, string_literals, structure
from server.frames.literals import Printed
from server.frames.printed import STRING, Unreadable

#: A printed bytes literal: only ASCII, and no line ends.
_BYTES = re.compile(r"""b(?:'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+")""", re.ASCII)
#: A printed path of the standard library.
_PATH = re.compile(rf"(?:\w+\.)*+(?:Pure)?(?:Posix)?Path\(({STRING})\)", re.DOTALL)


def file_entries(text: bytes) -> dict[str, bytes] | None:
    """The entries of a file map, each as its JSON text; None when the text is not a file map, or is a printed
    one without any file."""
    entries = raw_json.members(text)
    if entries is not None:
        return entries
    printed_map = raw_json.string(text)
    if printed_map is None or not printed_map.startswith("{"):
        return None
    if structure.is_printed_too_complex(printed_map):
        return None
    value = literals.value(printed_map)
    if not isinstance(value, dict):
        return None
    printed_entries = dict(_keyed(key, _entry(entry)) for key, entry in value.items())
    # Without any file it shows nothing about the files: the state of the run may show more.
    if not any(map(_is_file, printed_entries.values())):
        return None
    return {path: dump(entry) for path, entry in printed_entries.items()}


def _keyed(key: str, entry: Any) -> tuple[str, Any]:
    """A printed key's path and its entry; an entry whose key is not a path is not a file."""
    if not isinstance(key, Printed):
        return key, entry
    path = _PATH.fullmatch(key)
    try:
        return (str(key), {"printed": entry}) if path is None else (string_literals.string(path[1]), entry)
    except Unreadable:
        return str(key), {"printed": entry}


def _is_file(value: object) -> bool:
    try:
        parse_file(value)
    except NotAFile:
        return False
    return True


def _entry(value: Any) -> Any:
    """A printed entry as a JSON value; what cannot be read is not a file in it."""
    if isinstance(value, Printed):
        return _binary(value) or {"printed": value}
    if isinstance(value, dict) and isinstance(value.get("content"), Printed):
        return {**value, **(_binary(value["content"]) or {"content": {"printed": value["content"]}})}
    return value


def _binary(text: str) -> dict[str, str] | None:
    """A file with the bytes of a bytes literal; None for another text."""
    if not _BYTES.fullmatch(text):
        return None
    try:
        content: bytes = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError):
        return None
    return {"content": base64.b64encode(content).decode(), "encoding": "base64"}


def read_file(text: bytes) -> File:
    """The file of an entry's JSON text. Raises NotAFile."""
    return parse_file(raw_json.lenient_value(text))


def state_files(entries: Mapping[str, bytes]) -> dict[str, File]:
    """The files of a state answer; entries that cannot be read among them, as `unreadable`."""
    files = {}
    for path, text in entries.items():
        if text != b"null":
            try:
                files[path] = read_file(text)
            except NotAFile:
                files[path] = File(text, unreadable=True)
    return files
