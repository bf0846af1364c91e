"""String literals in Python's printed form, read without evaluating them."""

from __future__ import annotations

import re

from server.frames.printed import Unreadable

#: A string literal on one line, with no other escapes than those that `repr` writes.
_ESCAPED = re.compile(r"""'(?>[^'\\\n\r\0]++|\\[\\'"nrtxuU])*+'|"(?>[^"\\\n\r\0]++|\\[\\'"nrtxuU])*+\"""")


def string(text: str) -> str:
    """The value of a string literal. Raises Unreadable."""
    quote = text[:1]
    if "\\" not in text:
        # Most are without escapes: the text between the quotes is the value.
        inner = text[1:-1]
        if quote in ("'", '"') and len(text) >= 2 and text[-1] == quote and quote not in inner:
            if "\n" in inner or "\r" in inner:
                raise Unreadable
            return inner
        raise Unreadable
    if _ESCAPED.fullmatch(text) is None:
        raise Unreadable
    inner = text[1:-1]
    try:
        if not inner.isascii():
            # A lone surrogate comes as an escape.
            inner.encode()
        # The decoder takes each byte for a character; those beyond a byte become escapes.
        return inner.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeError as error:
        raise Unreadable from error


def optional_string(text: str | None) -> str:
    """The value of a string literal; empty when it is absent or not a string."""
    if text is None or text == "None":
        return ""
    try:
        return string(text)
    except Unreadable:
        return ""
