"""The hunks of two texts: the places where they differ, each with an id that survives a new comparison.

A hunk is decided about as a whole. It is one run of lines that go, come, or both: lines of context are not a
part of it, so that its id does not depend on how much context is shown.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from server.domain.review.lines import (
    common_prefix,
    common_suffix,
    count_lines,
    equal_after,
    equal_before,
    split_lines,
)
from server.domain.review.matching import differing_blocks

#: Lines of both texts, between those that they begin and end with, that are matched at most: each takes some
#: 200 bytes meanwhile. More of them differ as a whole.
MAX_COMPARED_LINES = 500_000
#: Lines of the base on each side of a hunk that are a part of its id: they tell equal changes apart.
_ID_CONTEXT_LINES = 3
#: Bytes of these lines on each side that count at most.
_ID_CONTEXT_BYTES = 1024
#: Hexadecimal digits of an id.
_ID_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Range:
    """A place where two texts differ: lines of the base, in whose place the target has others.

    base_line, line: the index of the first line in the base and in the target, from 0. base_offset to
    base_end, offset to end: the same places in bytes.
    """

    base_line: int
    base_line_count: int
    line: int
    line_count: int
    base_offset: int
    base_end: int
    offset: int
    end: int


@dataclass(frozen=True, slots=True)
class Hunk:
    """A place where two texts differ, with the lines that go and those that come; not both are empty.

    id: the same as long as these lines and the lines of the base around them are. Opaque.
    """

    id: str
    place: Range
    removed: bytes
    added: bytes


def differing_ranges(base: bytes, target: bytes) -> list[Range]:
    """The places where the texts differ, in order, with equal lines between them."""
    if base == target:
        return []
    prefix = common_prefix(base, target)
    suffix = common_suffix(base, target, prefix)
    one, other = base[prefix : len(base) - suffix], target[prefix : len(target) - suffix]
    first_line = base.count(b"\n", 0, prefix)
    counts = count_lines(one), count_lines(other)
    if not one or not other or sum(counts) > MAX_COMPARED_LINES:
        whole = Range(
            first_line,
            counts[0],
            first_line,
            counts[1],
            prefix,
            prefix + len(one),
            prefix,
            prefix + len(other),
        )
        return _slide(base, target, [whole])
    ours, theirs = split_lines(one), split_lines(other)
    blocks = differing_blocks(ours, theirs)
    places = [
        Range(
            first_line + block.base_start,
            block.base_end - block.base_start,
            first_line + block.start,
            block.end - block.start,
            base_offset,
            base_end,
            offset,
            end,
        )
        for block, (base_offset, base_end), (offset, end) in zip(
            blocks,
            _offsets(ours, prefix, [(block.base_start, block.base_end) for block in blocks]),
            _offsets(theirs, prefix, [(block.start, block.end) for block in blocks]),
            strict=True,
        )
    ]
    return _slide(base, target, places)


def _offsets(
    lines: Sequence[bytes], first: int, ranges: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """The offsets of ranges of lines, in order; the first line is at `first`."""
    at = 0
    for start, end in ranges:
        first += sum(map(len, lines[at:start]))
        size = sum(map(len, lines[start:end]))
        yield first, first + size
        first, at = first + size, end


def _slide(base: bytes, target: bytes, places: Sequence[Range]) -> list[Range]:
    """The same differences: those that can touch each other become one, others are as far down as they go.

    Which of two equal lines came in cannot be seen. The lowest place is the same whatever else differs.
    """
    result: list[Range] = []
    waiting = list(reversed(places))
    while waiting:
        place = waiting.pop()
        above = result[-1].base_end if result else 0
        below = waiting[-1].base_offset if waiting else len(base)
        if place.base_line_count and place.line_count:
            result.append(place)
            continue
        text, start, end = (
            (base, place.base_offset, place.base_end)
            if place.base_line_count
            else (target, place.offset, place.end)
        )
        lines, size = _way_up(text, start, end, place.base_offset - above)
        if result and place.base_offset - size == above:
            waiting.append(_joined(result.pop(), _moved(place, -lines, -size)))
            continue
        place = _moved(place, *_way_down(text, start, end, below - place.base_end))
        if waiting and place.base_end == below:
            waiting.append(_joined(place, waiting.pop()))
        else:
            result.append(place)
    return result


def _way_up(text: bytes, start: int, end: int, room: int) -> tuple[int, int]:
    """How many lines and bytes the lines from `start` to `end` can move up, at most `room` bytes: while the
    line above them is equal to their last one.

    There may be millions of equal lines, so bytes are compared, and not one line after the other.
    """
    at = start - equal_before(text, start, end, room)
    # Lines are equal as a whole: in both places they begin after a line end.
    if not (_begins_line(text, at) and _begins_line(text, at + end - start)):
        at = text.find(b"\n", at, start) + 1 or start
    return text.count(b"\n", at, start), start - at


def _way_down(text: bytes, start: int, end: int, room: int) -> tuple[int, int]:
    """The same downwards: while the line below them is equal to their first one."""
    equal_end = start + equal_after(text, start, end, room)
    size = max(text.rfind(b"\n", start, equal_end) + 1 - start, 0)
    return text.count(b"\n", start, start + size), size


def _begins_line(text: bytes, at: int) -> bool:
    return at == 0 or text[at - 1 : at] == b"\n"


def _moved(place: Range, lines: int, size: int) -> Range:
    return Range(
        place.base_line + lines,
        place.base_line_count,
        place.line + lines,
        place.line_count,
        place.base_offset + size,
        place.base_end + size,
        place.offset + size,
        place.end + size,
    )


def _joined(one: Range, other: Range) -> Range:
    """Both as one: nothing is between them."""
    return Range(
        one.base_line,
        one.base_line_count + other.base_line_count,
        one.line,
        one.line_count + other.line_count,
        one.base_offset,
        other.base_end,
        one.offset,
        other.end,
    )


def compare(base: bytes, target: bytes) -> tuple[Hunk, ...]:
    """The hunks that turn the base into the target, in order."""
    places = differing_ranges(base, target)
    keys = [_key(base, target, place) for place in places]
    numbers, counts = Counter[bytes](), Counter(keys)
    hunks = []
    for place, key in zip(places, keys, strict=True):
        numbers[key] += 1
        removed, added = base[place.base_offset : place.base_end], target[place.offset : place.end]
        hunks.append(Hunk(_id(key, numbers[key], counts[key]), place, removed, added))
    return tuple(hunks)


def _key(base: bytes, target: bytes, place: Range) -> bytes:
    """What the hunk is: its lines, and those of the base around it."""
    parts = (
        base[place.base_offset : place.base_end],
        target[place.offset : place.end],
        base[lines_before(base, place.base_offset, _ID_CONTEXT_LINES) : place.base_offset][
            -_ID_CONTEXT_BYTES:
        ],
        base[place.base_end : lines_after(base, place.base_end, _ID_CONTEXT_LINES)][:_ID_CONTEXT_BYTES],
    )
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def _id(key: bytes, number: int, count: int) -> str:
    """The id of the `number`-th of `count` hunks that are equal. A decision must never be taken for one about
    another place: when their count changes, all of them get other ids."""
    return hashlib.sha256(b"%b%d/%d" % (key, number, count)).hexdigest()[:_ID_DIGITS]


def lines_before(text: bytes, at: int, lines: int) -> int:
    """The offset of the line that is `lines` lines before the one at `at`, or 0."""
    while lines and at > 0:
        at = text.rfind(b"\n", 0, at - 1) + 1
        lines -= 1
    return at


def lines_after(text: bytes, at: int, lines: int) -> int:
    """The offset after `lines` lines from `at`, or the text's end."""
    while lines and at < len(text):
        at = text.find(b"\n", at) + 1 or len(text)
        lines -= 1
    return at


def apply_hunks(base: bytes, hunks: Iterable[Hunk]) -> bytes:
    """The base with these hunks, which are some of those of one comparison, in their order."""
    parts, at = [], 0
    for hunk in hunks:
        parts += [base[at : hunk.place.base_offset], hunk.added]
        at = hunk.place.base_end
    return b"".join([*parts, base[at:]])
