"""Python's printed form (`repr`), split into its parts without evaluating it.

The runtime publishes its messages as `repr` text. A scan that skips strings splits a call or a list at its
own commas; only the needed values are then read (`server.runtime.literals`). Some values have no printed form
that a parser could read back, such as `<object at 0x…>` or a table in plain text. The scan notices where the
text stops being regular, so that such a value costs itself alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SINGLE = r"[^'\\]*+(?:\\.[^'\\]*+)*+'"
_DOUBLE = r'[^"\\]*+(?:\\.[^"\\]*+)*+"'
STRING = f"(?:'{_SINGLE}|\"{_DOUBLE})"
#: A call that prints a message begins like this.
MESSAGE = r"[A-Za-z_][\w.]*+\(content="

# A string literal stands where `repr` puts one; a quote in plain text (`it's`) has other neighbours.
_BEFORE = r"[\[({,:=\s]"
_AFTER = r"(?=[\])},:>]|\Z)"
#: What the scan stops at: strings, values in angle brackets, a comma between two messages, brackets, commas,
#: and quotes that are not part of a string. Each alternative begins with its own character, which is fast.
_MARK = re.compile(
    rf"""'(?:(?<={_BEFORE}')|(?<={_BEFORE}b')){_SINGLE}{_AFTER}"""
    rf"""|"(?:(?<={_BEFORE}")|(?<={_BEFORE}b")){_DOUBLE}{_AFTER}"""
    rf"""|<[^<>'"\n]{{0,300}}>|,(?<=\),)\ (?={MESSAGE})|[\[(){{}},'"\]]""",
    re.DOTALL,
)
_MESSAGE = re.compile(MESSAGE)
_CALL = re.compile(r"[A-Za-z_][\w.]*+\(")
_KEYWORD = re.compile(r"\s*(\w+)=")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class Unreadable(ValueError):
    """The text is not in printed form."""


@dataclass(slots=True)
class Split:
    """The texts between brackets, split at their commas.

    end: the position after the closing bracket; None when the text is not regular. Then `parts` are those
    before the first irregular one, which begins at `start`, and `stopped` is where the scan noticed it.
    """

    parts: list[str]
    start: int
    stopped: int
    end: int | None = None


def split(text: str, at: int, *, arguments: bool = False) -> Split:
    """Split what the bracket at `at` encloses. arguments: of a call that prints a message, so that each part
    must be a keyword argument."""
    found = Split([], at + 1, len(text))
    openings: list[int] = []
    for mark in _MARK.finditer(text, at):
        sign = mark[0]
        kind = sign[0]
        if kind == ",":
            depth = len(openings)
            if arguments and not _continues(text, mark, openings):
                found.stopped = mark.start()
                return found
            if depth == 1:
                found.parts.append(text[found.start : mark.start()].strip())
                found.start = mark.end()
        elif kind in "([{":
            openings.append(mark.start())
        elif kind in ")]}":
            if len(openings) == 1:
                return _closed(text, at, mark, found)
            openings.pop()
        elif len(sign) == 1:
            found.stopped = mark.start()
            return found
    return found


def _continues(text: str, mark: re.Match[str], openings: list[int]) -> bool:
    """Whether a comma can stand here in the arguments of a printed message."""
    if len(openings) == 1:
        return _KEYWORD.match(text, mark.end()) is not None
    # Messages inside an argument are the items of a list, or the arguments of a call. Otherwise this is the
    # end of the printed message, and a bracket before it is part of a plain text.
    return len(mark[0]) == 1 or _MESSAGE.match(text, openings[-1] + 1) is not None


def _closed(text: str, at: int, mark: re.Match[str], found: Split) -> Split:
    if mark[0] != _CLOSING[text[at]]:
        found.stopped = mark.start()
        return found
    last = text[found.start : mark.start()].strip()
    if last:
        found.parts.append(last)
    found.end = found.stopped = mark.end()
    return found


def parts(text: str, at: int = 0) -> tuple[list[str], int]:
    """The texts between the bracket at `at` and its closing bracket, split at their commas, and the
    position after the closing bracket. Raises Unreadable when the text is not regular.
    """
    found = split(text, at)
    if found.end is None:
        raise Unreadable
    return found.parts, found.end


@dataclass(slots=True)
class Call:
    """A printed call: its last name and the texts of its keyword arguments.

    complete: the text is regular; otherwise an irregular argument is missing.
    end: the position after it. stopped: see `Split`.
    """

    name: str
    keywords: dict[str, str]
    complete: bool
    end: int
    start: int
    stopped: int


def is_call(text: str, at: int = 0) -> bool:
    """Whether the text begins like a call: a name and an opening bracket."""
    return _CALL.match(text, at) is not None


def call(text: str, at: int = 0) -> Call:
    """The call that prints a message, at `at`. If it is not complete, its end is the end of the text.
    Raises Unreadable when there is no call.
    """
    head = _CALL.match(text, at)
    if head is None:
        raise Unreadable
    found = split(text, head.end() - 1, arguments=True)
    name = head[0][:-1].rpartition(".")[2]
    complete = found.end is not None
    end = len(text) if found.end is None else found.end
    return Call(name, _keywords(found.parts), complete, end, found.start, found.stopped)


#: Arguments that come behind an irregular one, by the names that the framework's messages have.
_LATER = re.compile(
    r", (?=(?:response_metadata|name|id|tool_call_id|tool_calls|invalid_tool_calls|usage_metadata|status|"
    r"tool_call_chunks|chunk_position)=)"
)
#: Places at which the arguments behind an irregular one are looked for.
_MAX_RESUMPTIONS = 16


def message_call(text: str) -> Call:
    """The call that is all of the text, with the arguments around an irregular one. Raises Unreadable when
    the text is not a call."""
    found = call(text)
    if found.complete and found.end == len(text):
        return found
    if found.complete:
        # A bracket in plain text closed it too early.
        found.complete, found.end = False, len(text)
        found.keywords = dict(list(found.keywords.items())[:-1])
    for number, mark in enumerate(_LATER.finditer(text, found.start)):
        if number == _MAX_RESUMPTIONS:
            break
        # The rest of the arguments is regular if it is what a call with only them would print.
        rest = split("(" + text[mark.end() :], 0, arguments=True)
        if rest.end == len(text) - mark.end() + 1:
            found.keywords = {**_keywords(rest.parts), **found.keywords}
            break
    return found


def _keywords(arguments: list[str]) -> dict[str, str]:
    keywords = {}
    for argument in arguments:
        keyword = _KEYWORD.match(argument)
        if keyword is not None:
            keywords[keyword[1]] = argument[keyword.end() :]
    return keywords
