"""The runtime's file map: its entries as JSON text, and the files that they are.

A map with one value that JSON cannot express, such as bytes, comes in Python's printed form.
"""

from __future__ import annotations

import ast
import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from server.domain.proposals.files import File, NotAFile, is_base64, parse_file
from server.encoding.json_text import dump, load
from server.frames import printed_objects, raw_json, string_literals, structure
from server.frames.literals import Printed
from server.frames.printed import STRING, Unreadable

#: A printed bytes literal: only ASCII, and no line ends.
_BYTES = r"""b(?:'(?>[^'\\\n]|\\.)*+'|"(?>[^"\\\n]|\\.)*+")"""
#: Such a literal, perhaps as the value of a `bytearray`.
_BINARY = re.compile(rf"(?P<call>bytearray\()?(?P<literal>{_BYTES})(?(call)\))", re.ASCII)
#: A printed path of the standard library.
_PATH = re.compile(rf"(?>\w+\.)*+(?:Pure)?(?:Posix)?Path\(({STRING})\)", re.DOTALL)

#: Reads the entry of a text file as most come: its content, and when it was created and modified. None for
#: others.
ReadTextFile: TypeAlias = Callable[[bytes], tuple[bytes, str | None, str | None] | None]


def file_entries(text: bytes) -> dict[str, bytes] | None:
    """The entries of a file map, each as its JSON text; None when the text is not a file map, or is a printed
    one without any path."""
    entries = raw_json.members(text)
    if entries is not None:
        return entries
    printed_map = raw_json.string(text)
    if printed_map is None or structure.is_printed_too_complex(printed_map):
        return None
    value = printed_objects.members(printed_map)
    # Without a path it shows nothing about the files: the state of the run may show more.
    if value is None or all(isinstance(key, Printed) and _PATH.fullmatch(key) is None for key in value):
        return None
    return {path: dump(entry) for path, entry in (_keyed(key, _entry(entry)) for key, entry in value.items())}


def _keyed(key: str, entry: Any) -> tuple[str, Any]:
    """A printed key's path and its entry; an entry whose key is not a path is not a file."""
    if not isinstance(key, Printed):
        return key, entry
    path = _PATH.fullmatch(key)
    try:
        return (str(key), {"printed": entry}) if path is None else (string_literals.string(path[1]), entry)
    except Unreadable:
        return str(key), {"printed": entry}


def _entry(value: Any) -> Any:
    """A printed entry as a JSON value; what cannot be read is not a file in it."""
    if isinstance(value, Printed):
        content = _bytes([value])
        if content is not None:
            return _binary(content)
        fields = printed_objects.members(value)
        return {"printed": value} if fields is None or "content" not in fields else _entry(fields)
    if not isinstance(value, dict):
        return value
    lines = value["content"] if isinstance(value.get("content"), list) else [value.get("content")]
    if not any(isinstance(line, Printed) for line in lines):
        return value
    content = _bytes(lines)
    if content is None:
        return {**value, "content": {"printed": value["content"]}}
    return {**value, **_binary(content, encoding=value.get("encoding"))}


def _bytes(lines: list[Any]) -> bytes | None:
    """The bytes of printed lines of bytes; None for others."""
    found: list[bytes] = []
    for line in lines:
        literal = _BINARY.fullmatch(line) if isinstance(line, Printed) else None
        if literal is None:
            return None
        try:
            found.append(ast.literal_eval(literal["literal"]))
        except (ValueError, SyntaxError, MemoryError):
            return None
    return b"\n".join(found)


def _binary(content: bytes, *, encoding: Any = None) -> dict[str, str]:
    """The content and the encoding of a file with these bytes, which may be base64 that was not decoded to
    text."""
    if isinstance(encoding, str) and encoding.lower() == "base64" and content.isascii():
        coded = {"content": content.decode(), "encoding": "base64"}
        if not parse_file(coded).is_text:
            return coded
    return {"content": base64.b64encode(content).decode(), "encoding": "base64"}


def left_to_parser(text: bytes) -> None:
    """Reads nothing: as `ReadTextFile`."""


def read_file(text: bytes, read_text: ReadTextFile = left_to_parser) -> File:
    """The file of an entry's JSON text. read_text: reads what it can. Raises NotAFile."""
    found = read_text(text)
    if found is None:
        return parse_file(raw_json.lenient_value(text))
    content, created_at, modified_at = found
    return File(content, True, created_at, modified_at)


def state_files(text: raw_json.Text) -> dict[str, File] | None:
    """The files of a state answer's file map; entries that cannot be read among them, as `unreadable`. None
    when the text is not a file map.

    An answer may have 32 MiB: of its text nothing is copied that can be read where it is.
    """
    entries: Mapping[str, raw_json.Text] | None = raw_json.views(text)
    if entries is None:
        entries = file_entries(bytes(text))
    if entries is None:
        return None
    files = {}
    for path, entry in entries.items():
        try:
            file = _state_file(entry)
        except NotAFile:
            file = File(bytes(entry), unreadable=True)
        if file is not None:
            files[path] = file
    return files


def _state_file(text: raw_json.Text) -> File | None:
    """The file of an entry; None for null. Raises NotAFile."""
    content = _content(text)
    if content is not None:
        return _file(content, {})
    members = raw_json.views(text) or {}
    content = _content(members.pop("content", b""))
    if content is None:
        whole = bytes(text)
        return None if whole == b"null" else read_file(whole)
    try:
        others = {name: load(bytes(member).decode()) for name, member in members.items()}
    except (ValueError, RecursionError):
        return read_file(bytes(text))
    return _file(content, others)


def _content(text: raw_json.Text) -> bytes | list[str] | None:
    """The value of a string, in UTF-8, or of a list of strings; None for others, and if it is not proper
    JSON."""
    match bytes(memoryview(text)[:1]):
        case b'"':
            return raw_json.string_bytes(text)
        case b"[":
            return raw_json.strict_strings(text)
        case _:
            return None


def _file(content: bytes | list[str], others: Mapping[str, Any]) -> File:
    """The file with a content and the other members of its entry. Raises NotAFile."""
    if isinstance(content, list):
        return parse_file({**others, "content": content})
    if is_base64(others.get("encoding")):
        return parse_file({**others, "content": content.decode()})
    # A text of many mebibytes is not encoded once more, in one call.
    return replace(parse_file({**others, "content": ""}), content=content)
