"""Python's printed form (`repr`) taken apart, without running any of it.

The runtime publishes its messages as `repr` text (DESIGN section 5). A call or list is split at its
own commas by a scan that skips strings; only the values that are wanted are then read as literals.
So one value that cannot be read (`<object at 0x…>`) costs that value and nothing beside it.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_SINGLE = r"'[^'\\]*+(?:\\.[^'\\]*+)*+'"
_DOUBLE = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
STRING = f"(?:{_SINGLE}|{_DOUBLE})"

#: What the scan stops at: whole strings, brackets, commas, and a quote that nothing closes.
_MARK = re.compile(rf"""{_SINGLE}|{_DOUBLE}|[\[\](){{}},'"]""", re.DOTALL)
_CALL = re.compile(r"[A-Za-z_][\w.]*\(")
_KEYWORD = re.compile(r"\s*(\w+)=")
_ENTRY = re.compile(rf"({STRING})\s*:\s*", re.DOTALL)

#: Escapes that `repr` never writes; in a literal they would make the parser warn.
_ODD_ESCAPE = re.compile(r"\\[^\\'\"nrtxuU]", re.DOTALL)


class Unreadable(ValueError):
    """The text is not a literal, or not in printed form."""


def parts(text: str, at: int) -> tuple[list[str], int]:
    """What stands between the bracket at `at` and its partner, split at the commas between them,
    and the place behind the partner. Raises Unreadable when there is no partner.
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
    """Whether the text begins like a call of a named thing."""
    return _CALL.match(text) is not None


def call(text: str, at: int = 0) -> tuple[str, dict[str, str], int]:
    """The call at `at`: its last name, its keyword arguments' texts, and the place behind it.

    Arguments without a keyword are left out. Raises Unreadable.
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
    """The texts of the values of a printed dict, by those of its keys that are strings.
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
        # Most are strings without escapes: what stands between the quotes is the value.
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
    """The value of a string literal; empty when it is absent or no string."""
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
