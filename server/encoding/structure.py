"""How many values a text has, counted before it is read: each of them costs time and memory.

Some decoding is a single call, such as for all members of an object, during which no other thread runs. So a
text with too many values is not read at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import AnyStr, Generic

#: Shorter texts cannot have enough values to matter.
_MIN_CHARS = 64 << 10


@dataclass(frozen=True, slots=True)
class Form(Generic[AnyStr]):
    """The marks of a form of text. token: a string, or one of the marks."""

    comma: AnyStr
    colon: AnyStr
    openings: tuple[AnyStr, ...]
    closings: tuple[AnyStr, ...]
    token: re.Pattern[AnyStr]


JSON = Form(
    b",",
    b":",
    (b"[", b"{"),
    (b"]", b"}"),
    re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},:]', re.DOTALL),
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
    for found in form.token.finditer(text):
        mark = found[0]
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
