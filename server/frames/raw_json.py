"""JSON text split one level at a time, each value left as its text.

Fast for proper JSON. Lenient where Python's own writer is: it accepts lone surrogates as escapes, and `NaN`
and the infinities, which become strings because JSON has no such numbers. All texts are UTF-8.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any, TypeAlias

import msgspec

from server.encoding.json_text import at_full_depth, dump, load, replace_surrogates

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_STRING = msgspec.json.Decoder(str)
_STRINGS = msgspec.json.Decoder(list[str])

#: A text, or the part of a larger one that a value has, which is not copied.
Text: TypeAlias = bytes | msgspec.Raw

#: Bytes of a string that are decoded in one call, and of the longest escaped character, which has two halves.
_PIECE_BYTES, _ESCAPED_BYTES = 1 << 20, 12
_QUOTE = b'"'
#: The first half of an escaped character.
_HALF = re.compile(rb"\\u[Dd][89ABab][0-9A-Fa-f]{2}")

#: Longest error or progress text for people, in characters; the frame itself is kept whole.
LONGEST_MESSAGE = 2000

#: What the decoder raises for text that it rejects, at any depth.
_REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def is_utf8(data: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def strict_members(text: bytes) -> dict[str, bytes] | None:
    """An object's members, each value as its text; None when the text is not proper JSON or not an object.
    The last of two equal keys counts."""
    try:
        found: dict[str, msgspec.Raw] | None = _OBJECT.decode(text)
    except RecursionError:
        found = _deep_members(text)
    except _REFUSALS:
        return None
    return {key: bytes(value) for key, value in found.items()} if found is not None else None


def _deep_members(text: bytes) -> dict[str, msgspec.Raw] | None:
    try:
        return at_full_depth(_OBJECT.decode, text)
    except _REFUSALS:
        return None


def members(text: bytes) -> dict[str, bytes] | None:
    """As `strict_members`, but lenient: values of improper JSON are written again as proper JSON."""
    found = strict_members(text)
    if found is not None:
        return found
    value = lenient_value(text)
    try:
        return {key: dump(item) for key, item in value.items()} if isinstance(value, dict) else None
    except RecursionError:
        return None


def strict_items(text: bytes) -> list[bytes] | None:
    """An array's items, each as its text; None when the text is not proper JSON or not an array."""
    try:
        return [bytes(value) for value in at_full_depth(_ARRAY.decode, text)]
    except _REFUSALS:
        return None


def views(text: Text) -> dict[str, msgspec.Raw] | None:
    """As `strict_members`, but each value is a part of the text, which lives as long."""
    try:
        return _OBJECT.decode(text)
    except _REFUSALS:
        return None


def items(text: bytes) -> list[bytes] | None:
    """As `strict_items`, but lenient: items of improper JSON are written again as proper JSON."""
    found = strict_items(text)
    if found is not None:
        return found
    value = lenient_value(text)
    try:
        return [dump(item) for item in value] if isinstance(value, list) else None
    except RecursionError:
        return None


def string(text: bytes | None) -> str | None:
    """The value of a JSON string, which may have lone surrogates; None when the text is not a string."""
    if text is None or text[:1] != b'"':
        return None
    try:
        return _STRING.decode(text)
    except _REFUSALS:
        value = lenient_value(text)
    return value if isinstance(value, str) else None


def strict_string(text: Text) -> str | None:
    """The value of a JSON string; None when the text is not one, or not proper JSON."""
    try:
        return _STRING.decode(text)
    except _REFUSALS:
        return None


def string_bytes(text: Text, *, piece_bytes: int = _PIECE_BYTES) -> bytes | None:
    """The value of a JSON string in UTF-8; None when the text is not one, or not proper JSON. piece_bytes: of
    what is decoded in one call, during which no other thread runs."""
    view = memoryview(text)
    if len(view) < 2 or view[:1] != _QUOTE or view[-1:] != _QUOTE:
        return None
    # Its value is what was written, not a copy.
    found, at, end = BytesIO(), 1, len(view) - 1
    while at < end:
        piece = bytes(view[at : min(at + piece_bytes, end)])
        whole_bytes = len(piece) if at + len(piece) == end else _whole_characters(piece)
        value = strict_string(b'"%b"' % piece[:whole_bytes])
        if value is None:
            return None
        found.write(value.encode())
        at += whole_bytes
    return found.getvalue()


def _whole_characters(piece: bytes) -> int:
    """How many bytes of a part of a string, which begins with a whole character, are whole characters,
    escaped or not. All of them where that cannot be: the text is not proper JSON."""
    end = len(piece)
    while end and piece[end - 1] & 0xC0 == 0x80:
        end -= 1
    if end and piece[end - 1] >= 0xC0:
        end -= 1
    escape = piece.rfind(b"\\", max(end - _ESCAPED_BYTES, 0), end)
    if escape >= 0 and _is_escape(piece, escape):
        end = escape
        if _HALF.fullmatch(piece, max(end - 6, 0), end) and _is_escape(piece, end - 6):
            end -= 6
    return end or len(piece)


def _is_escape(piece: bytes, at: int) -> bool:
    """Whether an escaped character begins with this backslash, and does not end with it."""
    before = piece[:at]
    return (at - len(before.rstrip(b"\\"))) % 2 == 0


def strict_strings(text: Text) -> list[str] | None:
    """The values of an array of JSON strings; None when the text is not one, or not proper JSON."""
    try:
        return _STRINGS.decode(text)
    except _REFUSALS:
        return None


def lenient_value(text: bytes) -> Any:
    """The value of the text, read leniently; None also when it is not JSON or nested too deeply."""
    try:
        return load(text.decode())
    except (ValueError, RecursionError):
        return None


def object_text(object_members: dict[str, bytes]) -> bytes:
    """The text of an object with these members."""
    return b"{" + b",".join([_key(key) + value for key, value in object_members.items()]) + b"}"


def _key(key: str) -> bytes:
    """A member's name as JSON text, with the colon."""
    # Most names are plain words.
    return b'"%b":' % key.encode() if key.isascii() and key.isidentifier() else dump(key) + b":"


def printable(text: str, longest: int | None = None) -> str:
    """The text for people and databases: U+FFFD instead of lone surrogates and U+0000, cut after `longest`
    characters."""
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    text = text.replace("\x00", "\ufffd")
    return replace_surrogates(text)


def error_message(error: bytes) -> str:
    """The message of an error for people: a string, the `message` of an object, or else the JSON text."""
    message = string(error)
    if message is None:
        message = string((members(error) or {}).get("message"))
    return printable(error.decode() if message is None else message, LONGEST_MESSAGE)
