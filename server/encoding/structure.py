"""How many values a text has, counted before it is read: each of them costs time and memory.

Some decoding is a single call, such as for all members of an object, during which no other thread runs. So a
text with too many values is not read at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import AnyStr, Generic

#: Shorter texts cannot have enough values to matter.
_MIN_CHARS = 64 << 10
#: Characters that are searched in one call, during which no other thread runs.
_PIECE = 64 << 10


@dataclass(frozen=True, slots=True)
class Form(Generic[AnyStr]):
    """The marks of a form of text. token: a short string, a quote, or one of the marks. insides: what may
    follow a quote up to the next one of its kind."""

    comma: AnyStr
    colon: AnyStr
    openings: tuple[AnyStr, ...]
    closings: tuple[AnyStr, ...]
    token: re.Pattern[AnyStr]
    insides: Mapping[AnyStr, re.Pattern[AnyStr]]


JSON = Form(
    b",",
    b":",
    (b"[", b"{"),
    (b"]", b"}"),
    re.compile(rb'"[^"\\]{0,256}+"|["\[\]{},:]'),
    {b'"': re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)},
)


def exceeds(text: AnyStr, form: Form[AnyStr], *, max_values: int, max_members: int) -> bool:
    """Whether a text has more values than that, or one of its objects more members. A string is one value,
    whatever it contains."""
    if len(text) <= _MIN_CHARS:
        return False
    # Most texts have fewer marks than that, those inside of strings included.
    marks = text.count(form.comma)
    for opening in form.openings:
        marks += text.count(opening)
    if marks <= max_values and text.count(form.colon) <= max_members:
        return False
    values, members, outer = 0, 0, list[int]()
    for mark in _tokens(text, form):
        if mark == form.comma:
            values += 1
        elif mark == form.colon:
            members += 1
        elif mark in form.openings:
            values += 1
            outer.append(members)
            members = 0
        elif mark in form.closings:
            members = outer.pop() if outer else 0
        if values > max_values or members > max_members:
            return True
    return False


def _tokens(text: AnyStr, form: Form[AnyStr]) -> Iterator[AnyStr]:
    """The marks that are not inside of strings, and short strings. A quote without a second one stands for
    itself."""
    at = 0
    unpaired = set[AnyStr]()
    while at < len(text):
        found = form.token.search(text, at, at + _PIECE)
        if found is None:
            at += _PIECE
            continue
        token, at = found[0], found.end()
        inside = form.insides.get(token)
        if inside is None:
            yield token
        elif token not in unpaired:
            end = _string_end(text, at, token, inside)
            if end is None:
                # Nor have the quotes behind it, all of which are escaped.
                unpaired.add(token)
            else:
                at = end


def _string_end(text: AnyStr, at: int, quote: AnyStr, inside: re.Pattern[AnyStr]) -> int | None:
    """The position after the string whose inside begins at `at`; None if it does not end."""
    while at < len(text):
        part = inside.match(text, at, at + _PIECE)
        end = at if part is None else part.end()
        if text[end : end + 1] == quote:
            return end + 1
        if end == at:
            # A backslash that is the last character.
            return None
        at = end
    return None
