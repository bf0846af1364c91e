"""Texts as lines: split at line feeds, and the parts that two texts have in common at both ends.

A line is its bytes with its line feed; the last one may have none. A carriage return is a part of its line.
The lines of a text joined are the text: nothing is normalised, and nothing is lost.
"""

from __future__ import annotations

from server.domain.proposals.files import File

#: Bytes that are compared in one call: the interpreter can switch threads between two calls.
_PIECE_BYTES = 256 << 10
#: Bytes of the first piece, where few are equal as a rule.
_FIRST_PIECE_BYTES = 1 << 10


def has_lines(file: File) -> bool:
    """Whether the file is compared by lines. Tools take a file with U+0000 for a binary one."""
    return file.is_text and b"\0" not in file.content


def split_lines(text: bytes) -> list[bytes]:
    """The lines of the text, each with its line feed."""
    lines = [line + b"\n" for line in text.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def count_lines(text: bytes) -> int:
    """How many lines `split_lines` gives."""
    return text.count(b"\n") + bool(text and not text.endswith(b"\n"))


def common_prefix(base: bytes, target: bytes) -> int:
    """Bytes of the lines that both texts begin with."""
    size = min(len(base), len(target))
    at = 0
    while at < size and base[at : at + _PIECE_BYTES] == target[at : at + _PIECE_BYTES]:
        at += _PIECE_BYTES
    if at >= size:
        # One of them begins with the whole other one.
        at = size
        if len(base) == len(target):
            return size
    else:
        at += _equal(base[at : at + _PIECE_BYTES], target[at : at + _PIECE_BYTES])
    return base.rfind(b"\n", 0, at) + 1


def common_suffix(base: bytes, target: bytes, prefix: int) -> int:
    """Bytes of the lines that both texts end with, after the `prefix` bytes that they begin with."""
    size = min(len(base), len(target)) - prefix
    at = 0
    while at < size:
        step = min(_PIECE_BYTES, size - at)
        one = base[len(base) - at - step : len(base) - at]
        other = target[len(target) - at - step : len(target) - at]
        if one != other:
            at += _equal(one[::-1], other[::-1])
            break
        at += step
    start = base.find(b"\n", len(base) - at) + 1
    return len(base) - start if start else 0


def equal_before(text: bytes, one: int, other: int, most: int) -> int:
    """How many bytes before two places of a text are equal, at most `most`."""
    at, step = 0, _FIRST_PIECE_BYTES
    while at < most:
        step = min(step, most - at)
        above, below = text[one - at - step : one - at], text[other - at - step : other - at]
        if above != below:
            return at + _equal(above[::-1], below[::-1])
        at, step = at + step, min(2 * step, _PIECE_BYTES)
    return at


def equal_after(text: bytes, one: int, other: int, most: int) -> int:
    """How many bytes from two places of a text on are equal, at most `most`."""
    at, step = 0, _FIRST_PIECE_BYTES
    while at < most:
        step = min(step, most - at)
        above, below = text[one + at : one + at + step], text[other + at : other + at + step]
        if above != below:
            return at + _equal(above, below)
        at, step = at + step, min(2 * step, _PIECE_BYTES)
    return at


def _equal(one: bytes, other: bytes) -> int:
    """How many bytes they have in common at their start, by halving."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
