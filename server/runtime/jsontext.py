"""JSON text taken apart one level at a time, each value left as its text.

Fast where the text is as it should be, lenient where Python's own writer is: lone surrogates as
escapes, `NaN` and its kin (which become strings: JSON has no such numbers). All texts are UTF-8.
"""

from __future__ import annotations

from typing import Any

import msgspec

from server.domain.journal.frame_reconstruction import dump, load

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_STRING = msgspec.json.Decoder(str)

#: Longest error or progress text for people, in characters; the frame itself is kept whole.
LONGEST_MESSAGE = 2000

#: What the decoder raises for text that it does not take, however deep the fault is.
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
    """An object's members, each value as its text; None when the text is not proper JSON, or none
    that is an object. Of a key that occurs twice the last counts."""
    try:
        return {key: bytes(value) for key, value in _OBJECT.decode(text).items()}
    except _REFUSALS:
        return None


def members(text: bytes) -> dict[str, bytes] | None:
    """As `strict_members`, but lenient: then the values are written anew, as proper JSON."""
    found = strict_members(text)
    if found is not None:
        return found
    value = loaded(text)
    try:
        return {key: dump(item) for key, item in value.items()} if isinstance(value, dict) else None
    except RecursionError:
        return None


def items(text: bytes) -> list[bytes] | None:
    """An array's items, each as its text; None when the text is no JSON array."""
    try:
        return [bytes(value) for value in _ARRAY.decode(text)]
    except _REFUSALS:
        value = loaded(text)
    try:
        return [dump(item) for item in value] if isinstance(value, list) else None
    except RecursionError:
        return None


def string(text: bytes | None) -> str | None:
    """The value of a JSON string, which may hold lone surrogates; None when it is none."""
    if text is None or text[:1] != b'"':
        return None
    try:
        return _STRING.decode(text)
    except _REFUSALS:
        value = loaded(text)
    return value if isinstance(value, str) else None


def loaded(text: bytes) -> Any:
    """The value of the text, leniently; None also when it is no JSON or nested too deep."""
    try:
        return load(text.decode())
    except (ValueError, RecursionError):
        return None


def written(object_members: dict[str, bytes]) -> bytes:
    """The members as the text of an object."""
    return b"{" + b",".join(dump(key) + b":" + value for key, value in object_members.items()) + b"}"


def shown(text: str, longest: int | None = None) -> str:
    """The text as people and databases can take it: U+FFFD for lone surrogates and U+0000, cut
    behind `longest` characters."""
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    text = text.replace("\x00", "\ufffd")
    return (
        text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )


def message_of(error: bytes) -> str:
    """What an error says, for people: it is a string, an object with `message`, or else JSON text."""
    message = string(error)
    if message is None:
        message = string((members(error) or {}).get("message"))
    return shown(error.decode() if message is None else message, LONGEST_MESSAGE)
