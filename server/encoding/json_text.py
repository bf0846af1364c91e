"""JSON text with what strict libraries refuse: lone surrogates, U+0000, `NaN`."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

_DUMP = json.JSONEncoder(separators=(",", ":")).encode


def dump(value: object) -> bytes:
    """JSON text in ASCII, so that lone surrogates and U+0000 travel as escapes."""
    return _DUMP(value).encode("ascii")


def dump_lines(text: str) -> bytes:
    """JSON text in ASCII of the list of a text's lines, as fast for short lines as for long ones."""
    # In the JSON text a line feed is a backslash and an n, and a backslash two of them. JSON text has no
    # U+0000, so that one can stand for the latter.
    escaped = dump(text).replace(b"\\\\", b"\x00").replace(b"\\n", b'","')
    return b"[" + escaped.replace(b"\x00", b"\\\\") + b"]"


def load(text: str) -> Any:
    """The value of a JSON text, with `NaN`, `Infinity` and numbers beyond a double's range as strings,
    because JSON cannot express them. Raises ValueError, RecursionError."""
    return json.loads(text, parse_constant=str, parse_float=_number)


def _number(text: str) -> float | str:
    value = float(text)
    return value if isfinite(value) else text


def replace_surrogates(text: str) -> str:
    """The text with each lone surrogate, which UTF-8 cannot carry, replaced by U+FFFD.

    A pair of surrogates becomes the character that it stands for. Returns the same object if there is no
    surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
