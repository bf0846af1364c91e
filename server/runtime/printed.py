"""Python's printed form (`repr`), split into its parts without evaluating it.

The runtime publishes its messages as `repr` text. A scan that skips strings splits a call or a list at its
own commas; only the needed values are then read as literals. So a value that cannot be read
(`<object at 0x…>`) costs that value and nothing else.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_SINGLE = r"'[^'\\]*+(?:\\.[^'\\]*+)*+'"
_DOUBLE = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
STRING = f"(?:{_SINGLE}|{_DOUBLE})"

#: What the scan stops at: whole strings, brackets, commas, and a quote that is not closed.
_MARK = re.compile(rf"""{_SINGLE}|{_DOUBLE}|[\[\](){{}},'"]""", re.DOTALL)
_CALL = re.compile(r"[A-Za-z_][\w.]*\(")
_KEYWORD = re.compile(r"\s*(\w+)=")
_ENTRY = re.compile(rf"({STRING})\s*:\s*", re.DOTALL)

#: Escapes that `repr` never writes; the parser would warn about them in a literal.
_ODD_ESCAPE = re.compile(r"\\[^\\'\"nrtxuU]", re.DOTALL)


class Unreadable(ValueError):
    """The text is not a literal, or not in printed form."""


def parts(text: str, at: int) -> tuple[list[str], int]:
    """The texts between the bracket at `at` and its closing bracket, split at their commas, and the
    position after the closing bracket. Raises Unreadable when there is no closing bracket.
    """
    depth, start, found = 0, at + 1, []
    for mark in _MARK.finditer(text, at):
        sign = mark[0]
        if len(sign) > 1:
            continue
        if sign == ",":
            if depth == 1:
                found.append(text[start : mark.start()].strip())
                start = mark.end()
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
            if depth == 0:
                last = text[start : mark.start()].strip()
                if last:
                    found.append(last)
                return found, mark.end()
        else:
            break
    raise Unreadable


def is_call(text: str) -> bool:
    """Whether the text begins like a call: a name and an opening bracket."""
    return _CALL.match(text) is not None


def call(text: str, at: int = 0) -> tuple[str, dict[str, str], int]:
    """The call at `at`: its last name, the texts of its keyword arguments, and the position after it.

    Positional arguments are left out. Raises Unreadable.
    """
    head = _CALL.match(text, at)
    if head is None:
        raise Unreadable
    arguments, end = parts(text, head.end() - 1)
    keywords = {}
    for argument in arguments:
        keyword = _KEYWORD.match(argument)
        if keyword is not None:
            keywords[keyword[1]] = argument[keyword.end() :]
    return head[0][:-1].rpartition(".")[2], keywords, end


def entries(text: str, at: int = 0) -> dict[str, str]:
    """The texts of the values of a printed dict, by key. Keys that are not strings are left out.
    Raises Unreadable."""
    found = {}
    for entry in parts(text, at)[0]:
        key = _ENTRY.match(entry)
        if key is not None:
            found[string(key[1])] = entry[key.end() :]
    return found


def string(text: str) -> str:
    """The value of a string literal. Raises Unreadable."""
    value = literal(text)
    if not isinstance(value, str):
        raise Unreadable
    return value


def literal(text: str) -> Any:
    """The value of a literal of any kind. Raises Unreadable."""
    if "\\" not in text:
        # Most are strings without escapes: the text between the quotes is the value.
        quote = text[:1]
        if quote in ("'", '"') and len(text) >= 2 and text[-1] == quote and text.isprintable():
            inner = text[1:-1]
            if quote not in inner:
                return inner
    elif _ODD_ESCAPE.search(text.replace("\\\\", "")):
        raise Unreadable
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise Unreadable from error


def optional_string(text: str | None) -> str:
    """The value of a string literal; empty when it is absent or not a string."""
    if text is None or text == "None":
        return ""
    try:
        return string(text)
    except Unreadable:
        return ""


def json_text(value: Any) -> str:
    """A literal's value as JSON text. Raises Unreadable when JSON has no such value."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        # A lone surrogate: as an escape, JSON can carry it.
        return json.dumps(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise Unreadable from error
    return text
