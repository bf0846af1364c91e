"""Python's printed form (`repr`), split into its parts without evaluating it.

The runtime publishes its messages as `repr` text. A scan that skips strings splits a call or a list at its
own commas; only the needed values are then read (`server.frames.literals`). Some values have no printed form
that a parser could read back, such as `<object at 0x…>` or a table in plain text. The scan notices where the
text stops being regular, so that such a value costs itself alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SINGLE = r"[^'\\]*+(?>\\.[^'\\]*+)*+'"
_DOUBLE = r'[^"\\]*+(?>\\.[^"\\]*+)*+"'
STRING = f"(?:'{_SINGLE}|\"{_DOUBLE})"
#: A call that prints a message begins like this.
MESSAGE = r"[A-Za-z_][\w.]*+\(content="

# A string literal stands where `repr` puts one; a quote in plain text (`it's`) has other neighbours.
_BEFORE = r"[\[({,:=\s]"
_AFTER = r"(?=[\])},:>]|\Z)"
#: Such a string.
PLACED_STRING = (
    rf"""'(?:(?<={_BEFORE}')|(?<={_BEFORE}b')){_SINGLE}{_AFTER}"""
    rf"""|"(?:(?<={_BEFORE}")|(?<={_BEFORE}b")){_DOUBLE}{_AFTER}"""
)
#: Strings, and values in angle brackets.
_ATOM = rf"""{PLACED_STRING}|<[^<>'"\n]{{0,300}}>|<"""
_PLAIN = r"""[^\[\](){}'"<]++"""


def _group(inside: str) -> str:
    """Brackets with what is given inside. The end of a message is looked at."""
    return rf"[\[({{](?>{_PLAIN}|{_ATOM}{inside})*+[\])}}](?!, {MESSAGE})"


#: Brackets in brackets: as deep as a list of tool calls with their arguments.
_GROUP = _group("|" + _group("|" + _group("")))
#: What the scan skips between commas, and inside brackets. It stops at a bracket, or at a quote that is not
#: part of a string.
VALUE = rf"""(?>[^\[\](){{}}'"<,]++|{_ATOM}|{_GROUP})*+"""
_TO_COMMA = re.compile(VALUE, re.DOTALL)
_TO_BRACKET = re.compile(rf"(?>{_PLAIN}|{_ATOM}|{_GROUP})*+", re.DOTALL)
#: Deeper values are not regular.
_MAX_DEPTH = 500

_MESSAGE = re.compile(MESSAGE)
_NEXT_MESSAGE = re.compile(rf", (?={MESSAGE})")
_CALL = re.compile(r"[A-Za-z_][\w.]*+\(")
_KEYWORD = re.compile(r"\s*(\w+)=")
#: A keyword argument as most are, and the sign behind it.
_ARGUMENT = re.compile(rf"(\w++)=({VALUE})(?<!\s)(, (?=\w++=)|\))", re.DOTALL)
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


def split(text: str, at: int, *, start: int | None = None, arguments: bool = False) -> Split:
    """Split what the bracket at `at` encloses. start: where the first part to find begins, if not behind the
    bracket. arguments: of a call that prints a message, so that each part must be a keyword argument."""
    here = at + 1 if start is None else start
    found = Split([], here, len(text))
    openings = [at]
    while True:
        here = (_TO_BRACKET if len(openings) > 1 else _TO_COMMA).match(text, here).end()  # type: ignore[union-attr]
        sign = text[here : here + 1]
        if sign == ",":
            if arguments and _KEYWORD.match(text, here + 1) is None:
                break
            found.parts.append(text[found.start : here].strip())
            found.start = here + 1
        elif sign and sign in "([{" and len(openings) < _MAX_DEPTH:
            openings.append(here)
        elif sign and sign in ")]}":
            openings.pop()
            if not openings:
                return _closed(text, at, here, found)
            if arguments and not _continues(text, here + 1, openings):
                break
        else:
            break
        here += 1
    found.stopped = min(here, len(text))
    return found


def _continues(text: str, end: int, openings: list[int]) -> bool:
    """Whether a bracket that closes before `end`, inside the arguments of a message, is not its last one.

    Messages inside an argument are the items of a list, or the arguments of a call. If the next message
    follows elsewhere, this one has ended, and an opening bracket before its end belongs to a plain text.
    """
    return (
        len(openings) == 1
        or _NEXT_MESSAGE.match(text, end) is None
        or _MESSAGE.match(text, openings[-1] + 1) is not None
    )


def _closed(text: str, at: int, here: int, found: Split) -> Split:
    """The result when the bracket at `here` closes the one at `at`."""
    found.stopped = here
    if text[here] == _CLOSING[text[at]]:
        last = text[found.start : here].strip()
        if last:
            found.parts.append(last)
        found.end = found.stopped = here + 1
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

    complete: the text is regular; otherwise an irregular argument is missing, whose name is `irregular`.
    end: the position after it. stopped: see `Split`.
    """

    name: str
    keywords: dict[str, str]
    complete: bool
    end: int
    start: int
    stopped: int
    irregular: str = ""


def is_call(text: str, at: int = 0) -> bool:
    """Whether the text begins like a call: a name and an opening bracket."""
    return _CALL.match(text, at) is not None


def call(text: str, at: int = 0) -> Call:
    """The call that prints a message, at `at`. If it is not complete, its end is the end of the text.
    Raises Unreadable if the text is not a call.
    """
    head = _CALL.match(text, at)
    if head is None:
        raise Unreadable
    name = head[0][:-1].rpartition(".")[2]
    keywords: dict[str, str] = {}
    at = head.end()
    while (argument := _ARGUMENT.match(text, at)) is not None:
        keyword, value, sign = argument.groups()
        keywords.setdefault(keyword, value)
        start, at = at, argument.end()
        if sign == ")":
            return Call(name, keywords, True, at, start, at)
    found = split(text, head.end() - 1, start=at, arguments=True)
    _add_keywords(keywords, found.parts)
    if found.end is not None:
        return Call(name, keywords, True, found.end, found.start, found.stopped)
    irregular = _KEYWORD.match(text, found.start)
    return Call(
        name,
        keywords,
        False,
        len(text),
        found.start,
        found.stopped,
        "" if irregular is None else irregular[1],
    )


#: Arguments that come behind an irregular one, by the names that the framework's messages have.
_LATER = re.compile(
    r", (?=(?:response_metadata|name|id|tool_call_id|tool_calls|invalid_tool_calls|usage_metadata|status|"
    r"tool_call_chunks|chunk_position)=)"
)
#: Places at which the arguments behind an irregular one are looked for, and the longest text for it.
_MAX_RESUMPTIONS = 16
_MAX_RESUMED_CHARS = 1 << 17


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
    rest = found.start if len(text) - found.start <= _MAX_RESUMED_CHARS else len(text)
    for number, mark in enumerate(_LATER.finditer(text, rest)):
        if number == _MAX_RESUMPTIONS:
            break
        # The rest of the arguments is regular if it is what a call with only them would print.
        later = split("(" + text[mark.end() :], 0, arguments=True)
        if later.end == len(text) - mark.end() + 1:
            _add_keywords(found.keywords, later.parts)
            break
    return found


def _add_keywords(keywords: dict[str, str], arguments: list[str]) -> None:
    """Add the arguments' names and values. The first one of a name counts: plain text in an argument after it
    may look like the same one."""
    for argument in arguments:
        keyword = _KEYWORD.match(argument)
        if keyword is not None:
            keywords.setdefault(keyword[1], argument[keyword.end() :])
