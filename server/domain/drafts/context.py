"""The file and the lines that a request is about, checked, and as a part of the prompt. Pure."""

from __future__ import annotations

import re
from enum import Enum

from server.domain.errors import Unprocessable
from server.domain.proposals.files import text_bytes

#: Maximum bytes of the lines that a prompt repeats: as many as a prompt may have characters. The rest of a
#: longer file is left out, and the prompt says so.
MAX_CONTEXT_BYTES = 64 << 10

_BACKTICKS = re.compile("`+")


class JobContext(Enum):
    """How a job brings the draft to the runtime; the value is the word in the settings."""

    #: All files, in `input_payload.files`.
    FILES = "files"
    #: The lines that the request is about, in the prompt.
    PROMPT = "prompt"
    BOTH = "both"

    @property
    def has_files(self) -> bool:
        """Whether the runtime gets all files."""
        return self is not JobContext.PROMPT

    @property
    def has_lines(self) -> bool:
        """Whether the prompt repeats the lines."""
        return self is not JobContext.FILES


def lines_of(text: str) -> list[str]:
    """The lines of a text without their line feeds, as editors count them: a line feed at its end begins
    none."""
    lines = text.split("\n")
    return lines[:-1] if not lines[-1] else lines


def check_selection(selection: str, text: str) -> None:
    """Raise Unprocessable when the file does not have the selected lines (`lines A-B` or `line A`)."""
    count = len(lines_of(text))
    if _bounds(selection)[1] > count:
        raise Unprocessable({"context_selection": f"is outside the file, which has {count} lines"})


def with_context(prompt: str, path: str, selection: str | None, text: str) -> str:
    """The prompt with the selected lines of the file, or all of them, behind it."""
    lines = lines_of(text)
    where = f"the file `{path}`"
    if selection is not None:
        first, last = _bounds(selection)
        lines = lines[first - 1 : last]
        where = f"{selection} of {where}"
    shown = _cut("\n".join(lines))
    fence = "`" * max(3, 1 + max((len(run) for run in _BACKTICKS.findall(shown)), default=0))
    more = "" if len(shown) == len("\n".join(lines)) else "\nThe rest of it is left out here.\n"
    return f"{prompt}\n\nThe request is about {where}:\n\n{fence}\n{shown}\n{fence}\n{more}"


def _bounds(selection: str) -> tuple[int, int]:
    numbers = [int(digits) for digits in re.findall("[0-9]+", selection)]
    return numbers[0], numbers[-1]


def _cut(text: str) -> str:
    """The text up to `MAX_CONTEXT_BYTES`, up to the end of a line if it has one there."""
    encoded = text_bytes(text)
    if len(encoded) <= MAX_CONTEXT_BYTES:
        return text
    kept = encoded[:MAX_CONTEXT_BYTES].decode("utf-8", "ignore")
    whole, line_feed, _ = kept.rpartition("\n")
    return whole if line_feed else kept
