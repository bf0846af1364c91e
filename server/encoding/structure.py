"""How many values a text has, counted before it is read: each of them costs time and memory.

Some decoding is a single call, such as for all members of an object, during which no other thread runs. So a
text with too many values is not read at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import AnyStr, Generic

#: Characters that are searched in one call, during which no other thread runs.
_PIECE = 64 << 10
#: Characters that are counted before other threads run.
_COUNTED = 1 << 20


@dataclass(frozen=True, slots=True)
class Form(Generic[AnyStr]):
    """The marks of a form of text. string: a complete one. whole: complete strings and what is between them.
    braces: the marks that say to which object a member belongs. insides: what may follow a quote up to the
    next one of its kind. letter: stands for a string that was removed."""

    comma: AnyStr
    colon: AnyStr
    openings: tuple[AnyStr, ...]
    string: re.Pattern[AnyStr]
    whole: re.Pattern[AnyStr]
    braces: re.Pattern[AnyStr]
    insides: Mapping[AnyStr, re.Pattern[AnyStr]]
    letter: AnyStr


_INSIDE = rb'[^"\\]*+(?>\\.[^"\\]*+)*+'

JSON = Form(
    b",",
    b":",
    (b"[", b"{"),
    re.compile(b'"%b"' % _INSIDE, re.DOTALL),
    re.compile(b'(?>[^"]++|"%b")*+' % _INSIDE, re.DOTALL),
    re.compile(rb"[\[\]{}:]"),
    {b'"': re.compile(_INSIDE, re.DOTALL)},
    b"x",
)


def exceeds(text: AnyStr, form: Form[AnyStr], *, max_values: int, max_members: int) -> bool:
    """Whether a text has more values than that, or one of its objects more members. A string is one value,
    whatever it contains."""
    # Each of them takes a character at least.
    if len(text) <= min(max_values, max_members):
        return False
    # Most texts have fewer marks than that, those inside of strings included.
    if count(text, form.comma, *form.openings) <= max_values and count(text, form.colon) <= max_members:
        return False
    values = members = 0
    for piece in _outside_strings(text, form):
        values += count(piece, form.comma, *form.openings)
        members += piece.count(form.colon)
        if values > max_values:
            return True
    return members > max_members and _has_object_above(max_members, text, form)


def count(text: AnyStr, *marks: AnyStr) -> int:
    """How often these characters are in a text, which is searched a piece at a time."""
    found = 0
    for at in range(0, len(text), _COUNTED):
        piece = text[at : at + _COUNTED]
        for mark in marks:
            found += piece.count(mark)
    return found


def _has_object_above(max_members: int, text: AnyStr, form: Form[AnyStr]) -> bool:
    """Whether one object has more members than that."""
    members, outer = 0, list[int]()
    for piece in _outside_strings(text, form):
        for mark in form.braces.findall(piece):
            if mark == form.colon:
                members += 1
                if members > max_members:
                    return True
            elif mark in form.openings:
                outer.append(members)
                members = 0
            else:
                members = outer.pop() if outer else 0
    return False


def _outside_strings(text: AnyStr, form: Form[AnyStr]) -> Iterator[AnyStr]:
    """The text without its strings, in pieces. A quote without a second one stands for itself."""
    at = 0
    while at < len(text):
        whole = form.whole.match(text, at, at + _PIECE)
        if whole is not None and whole.end() > at:
            yield form.string.sub(form.letter, whole[0])
            at = whole.end()
            continue
        quote = text[at : at + 1]
        end = _string_end(text, at + 1, quote, form.insides[quote])
        if end is None:
            # Nor have the quotes behind it, all of which are escaped.
            text, at = text[at:].replace(quote, form.letter), 0
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
