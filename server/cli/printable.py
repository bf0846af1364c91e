"""Text from outside in a terminal or a log line: what a terminal would obey, or nobody could see, is shown as
an escape."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from functools import lru_cache
from typing import Any

#: Characters without a width that are letters or marks for Unicode, and so pass `str.isprintable`. The
#: selectors of emoji (U+FE0E, U+FE0F) are left: they follow what they change.
_INVISIBLE = frozenset(
    [
        "\u034f",
        "\u115f",
        "\u1160",
        "\u17b4",
        "\u17b5",
        "\u3164",
        "\uffa0",
        *map(chr, range(0x180B, 0x1810)),
        *map(chr, range(0xFE00, 0xFE0E)),
        *map(chr, range(0xE0100, 0xE01F0)),
    ]
)
#: Everything in an address between its scheme and its host.
_CREDENTIALS = re.compile("://.*@", re.DOTALL)


def printable(text: str, *, lines: bool = False) -> str:
    """The text, with controls, direction marks, invisible and unassigned characters escaped as in Python.

    lines: keep line ends and tabs.
    """
    if lines:
        text = text.replace("\r\n", "\n")
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if lines and character in "\n\t" else _shown(character) for character in text)


@lru_cache(4096)
def _shown(character: str) -> str:
    # A space of any width is not printable for Python, and harmless.
    seen = character.isprintable() or unicodedata.category(character) == "Zs"
    return character if seen and character not in _INVISIBLE else ascii(character)[1:-1]


def words(code: object) -> str:
    """A code of the contract, such as `dot_segment`, as words."""
    return printable(str(code).replace("_", " "))


def minute(time: object) -> str:
    """A time of the hub, in UTC, without its seconds."""
    return printable(str(time)[:16].replace("T", " "))


def counted(count: int | str, noun: str) -> str:
    """A number of things: `1 file`, `2 files`."""
    return f"{count} {noun}" if str(count) == "1" else f"{count} {noun}s"


def print_line(line: str) -> None:
    """Print a line, whose texts may come from the hub, without what a terminal would obey."""
    sys.stdout.write(printable(line) + "\n")


def print_content(content: bytes) -> None:
    """Print a file: as it is into a file or a pipe, and in a terminal without what that would obey."""
    if sys.stdout.isatty():
        sys.stdout.write(printable(content.decode(errors="replace"), lines=True))
    else:
        sys.stdout.buffer.write(content)
    sys.stdout.flush()


def without_credentials(text: str) -> str:
    """The text without the user and the password of an address: up to its last @.

    For addresses given in the wrong place: the error message would repeat them.
    """
    return _CREDENTIALS.sub("://[redacted]@", text)


def json_line(value: Any) -> str:
    """The value as JSON in ASCII, on one line. JSON itself leaves DEL as it is."""
    return json.dumps(value).replace("\x7f", "\\u007f")
