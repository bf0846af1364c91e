"""Values in Python's printed form, read without evaluating them.

Reading is total and bounded: a part that is not a literal of JSON's kinds, such as `<object at 0x…>`, a date
or a set, becomes `Printed`, its own text. No text is given to Python's parser.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any

from server.encoding.json_text import at_full_depth
from server.frames.printed import STRING, VALUE, Unreadable, split
from server.frames.string_literals import string

#: Values deeper than this stay printed, and so does a value with more parts than this.
MAX_DEPTH = 64
MAX_PARTS = 200_000

_STRING = re.compile(STRING, re.DOTALL)
_TOKEN = re.compile(
    rf"(?P<string>{STRING})|(?P<word>None|True|False)\b|(?P<int>-?\d+)(?![\w.])"
    r"|(?P<float>-?\d+(?:\.\d*)?(?:e[+-]?\d+)?)(?![\w.])",
    re.DOTALL,
)
#: What a value that is not a literal ends at, and what in it is skipped.
_STOP = re.compile(r"[\[({\])},:'\"]")
_SPACE = re.compile(r"\s*+")
#: An entry of a dict as most are, with the comma behind it.
_PLAIN_ENTRY = re.compile(
    rf"'(?P<key>\w+)': (?:(?P<string>{STRING})|(?P<word>None|True|False)|(?P<number>-?\d{{1,18}}))"
    r"(?:, |(?=}))",
    re.DOTALL,
)
_WORDS = {"None": None, "True": True, "False": False}
_SHORT: dict[str, Any] = {"None": None, "True": True, "False": False}

_KEY = re.compile(r"'(\w+)'\s*:\s*")
#: An entry with such a key as most are, and the sign behind it.
_ENTRY = re.compile(rf"'(\w+)': (?!\s)({VALUE})(?<!\s)(, |}})", re.DOTALL)


class Printed(str):
    """The text of a value that could not be read."""

    __slots__ = ()


def value(text: str) -> Any:
    """The value of the text: what JSON has, with `Printed` for parts that are not literals."""
    if text in _SHORT:
        return _SHORT[text]
    if text[:1] in ("'", '"'):
        try:
            return string(text)
        except Unreadable:
            return Printed(text)
    return at_full_depth(_value, text)


def _value(text: str) -> Any:
    try:
        found, end = _Reader(text).read(_skip(text, 0), 0)
    except Unreadable:
        return Printed(text)
    return found if _skip(text, end) == len(text) else Printed(text)


def entries(text: str) -> dict[str, str]:
    """The texts of the values of a printed dict, by key. Keys that are not plain words are left out."""
    found: dict[str, str] = {}
    if not text.startswith("{"):
        return found
    at = 1
    while (entry := _ENTRY.match(text, at)) is not None:
        key, value, sign = entry.groups()
        found[key] = value
        at = entry.end()
        if sign == "}":
            return found
    for item in split(text, 0, start=at).parts:
        plain = _KEY.match(item)
        if plain is not None:
            found[plain[1]] = item[plain.end() :]
    return found


def json_text(value: Any) -> str:
    """A value as JSON text. Raises Unreadable when JSON has no such value, or it is nested too deeply."""
    try:
        return at_full_depth(_json_text, value)
    except (ValueError, TypeError, RecursionError) as error:
        raise Unreadable from error


def _json_text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate: as an escape, JSON can carry it.
        return json.dumps(value)
    return text


def _skip(text: str, at: int) -> int:
    if not text[at : at + 1].isspace():
        return at
    space = _SPACE.match(text, at)
    return at if space is None else space.end()


class _Reader:
    """Reads one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._parts = 0

    def read(self, at: int, depth: int, ends: str = ",])}") -> tuple[Any, int]:
        """The value at `at`, and the position after it. ends: what it ends at. Raises Unreadable."""
        self._count()
        if self._text.startswith(("{", "[", "("), at):
            found, end = self._enclosed(at, depth)
        else:
            token = _TOKEN.match(self._text, at)
            if token is None:
                return self._printed(at, ends)
            found, end = _scalar(token), token.end()
        after = _skip(self._text, end)
        if after < len(self._text) and self._text[after] not in ends:
            return self._printed(at, ends)
        return found, end

    def _count(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise Unreadable

    def _printed(self, at: int, ends: str) -> tuple[Printed, int]:
        """The value at `at` as its text: up to one of `ends` that is not inside brackets."""
        text, here = self._text, at
        while (mark := _STOP.search(text, here)) is not None:
            sign = mark[0]
            if sign in "'\"":
                whole = _STRING.match(text, mark.start())
                if whole is None:
                    raise Unreadable
                here = whole.end()
            elif sign in "[({":
                end = split(text, mark.start()).end
                if end is None:
                    raise Unreadable
                here = end
            elif sign in ends:
                break
            else:
                here = mark.end()
        end = len(text) if mark is None else mark.start()
        return Printed(text[at:end].strip()), end

    def _enclosed(self, at: int, depth: int) -> tuple[Any, int]:
        """The list, tuple or dict at `at`; `Printed` for a set and when it is nested too deeply."""
        if depth < MAX_DEPTH:
            kind = self._text[at]
            found = self._dict(at + 1, depth) if kind == "{" else self._items(at, depth)
            if found is not None:
                return found
        end = split(self._text, at).end
        if end is None:
            raise Unreadable
        return Printed(self._text[at:end]), end

    def _items(self, at: int, depth: int) -> tuple[Any, int]:
        text, closing = self._text, "]" if self._text[at] == "[" else ")"
        items: list[Any] = []
        comma = False
        here = _skip(text, at + 1)
        while text[here : here + 1] != closing:
            item, here = self.read(here, depth + 1)
            items.append(item)
            here = _skip(text, here)
            comma = text[here : here + 1] == ","
            if comma:
                here = _skip(text, here + 1)
            elif text[here : here + 1] != closing:
                raise Unreadable
        # One value in round brackets without a comma is the value itself.
        return (items[0] if closing == ")" and len(items) == 1 and not comma else items), here + 1

    def _dict(self, at: int, depth: int) -> tuple[dict[str, Any], int] | None:
        """The dict whose entries begin at `at`; None for a set. A key that is not a string is `Printed`."""
        text = self._text
        found: dict[str, Any] = {}
        here = _skip(text, at)
        while text[here : here + 1] != "}":
            plain = _PLAIN_ENTRY.match(text, here)
            if plain is not None:
                self._count()
                key, literal, word, number = plain.groups()
                found[key] = string(literal) if literal else _WORDS[word] if word else int(number)
                here = plain.end()
                continue
            start = here
            key, here = self.read(here, depth + 1, ends=":,}")
            written = text[start:here].strip()
            here = _skip(text, here)
            if text[here : here + 1] != ":":
                return None
            key = key if type(key) is str else Printed(written)
            found[key], here = self.read(_skip(text, here + 1), depth + 1)
            here = _skip(text, here)
            if text[here : here + 1] == ",":
                here = _skip(text, here + 1)
            elif text[here : here + 1] != "}":
                raise Unreadable
        return found, here + 1


def _scalar(token: re.Match[str]) -> Any:
    """The value of a token."""
    text = token[0]
    if token.lastgroup == "string":
        return string(text)
    if token.lastgroup == "word":
        return _WORDS[text]
    if token.lastgroup == "float":
        number = float(text)
        return number if isfinite(number) else Printed(text)
    try:
        return int(text)
    except ValueError:
        return Printed(text)
