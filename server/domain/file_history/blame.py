"""Blame: which change of a file wrote each of its lines. Pure.

It goes back from the file's newest version, one version at a time. The lines that came in with a version are
that version's; the others are followed into the version before it. So it may stop anywhere: the lines that
are left are in the version that it stopped at.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from server.domain.journal.file_index import IndexedChange
from server.domain.review.hunks import Range, differing_ranges


@dataclass(frozen=True, slots=True)
class BlameRange:
    """Consecutive lines that one change wrote. first_line: from 0."""

    first_line: int
    line_count: int
    change: IndexedChange


@dataclass(frozen=True, slots=True)
class _Followed:
    """Lines whose change is not found yet: `first_line` in the newest version, `line` in the one that was
    reached."""

    first_line: int
    line: int
    line_count: int


class LineBlame:
    """The lines of a file, from the newest version back."""

    def __init__(self, first_line: int, line_count: int) -> None:
        """The lines of the newest version that are asked for."""
        self._followed = [_Followed(first_line, first_line, line_count)] if line_count else []
        self._found: list[BlameRange] = []

    def __getstate__(self) -> tuple[array[int], array[int], list[IndexedChange]]:
        # As numbers: there may be a hundred thousand lines, each of which would be an object.
        changes = {id(part.change): part.change for part in self._found}
        indexes = {key: index for index, key in enumerate(changes)}
        followed = chain.from_iterable(
            (each.first_line, each.line, each.line_count) for each in self._followed
        )
        found = chain.from_iterable(
            (part.first_line, part.line_count, indexes[id(part.change)]) for part in self._found
        )
        return array("Q", followed), array("Q", found), list(changes.values())

    def __setstate__(self, state: tuple[array[int], array[int], list[IndexedChange]]) -> None:
        followed, found, changes = state
        self._followed = [_Followed(*each) for each in _threes(followed)]
        self._found = [BlameRange(first, count, changes[index]) for first, count, index in _threes(found)]

    @property
    def complete(self) -> bool:
        """Whether the change of each line is found."""
        return not self._followed

    def go_back(self, change: IndexedChange, text: bytes, before: bytes) -> None:
        """Compare the version that was reached, and that `change` wrote, with the one before it."""
        places = differing_ranges(before, text)
        followed: list[_Followed] = []
        # Of the places that end above a line, and how far the lines below them have moved.
        index = shift = 0
        for lines in self._followed:
            at, end = lines.line, lines.line + lines.line_count
            while at < end:
                while index < len(places) and places[index].line + places[index].line_count <= at:
                    shift = _shift(places[index])
                    index += 1
                stop, came_in = _next_part(places, index, at, end)
                first_line = lines.first_line + at - lines.line
                if came_in:
                    self._found.append(BlameRange(first_line, stop - at, change))
                else:
                    followed.append(_Followed(first_line, at + shift, stop - at))
                at = stop
        self._followed = followed

    def stop(self, change: IndexedChange) -> None:
        """The lines that are left are of the version that was reached, and that `change` wrote."""
        self._found += [BlameRange(lines.first_line, lines.line_count, change) for lines in self._followed]
        self._followed = []

    def ranges(self) -> list[BlameRange]:
        """The ranges that were found, in order; neighbours of one change are one."""
        joined: list[BlameRange] = []
        for part in sorted(self._found, key=lambda found: found.first_line):
            last = joined[-1] if joined else None
            if (
                last is not None
                and last.change is part.change
                and last.first_line + last.line_count == part.first_line
            ):
                joined[-1] = BlameRange(last.first_line, last.line_count + part.line_count, last.change)
            else:
                joined.append(part)
        return joined


def _threes(numbers: array[int]) -> Iterator[tuple[int, int, int]]:
    return zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)


def _shift(place: Range) -> int:
    """How many lines further down the lines below a place are in the base."""
    return place.base_line + place.base_line_count - place.line - place.line_count


def _next_part(places: Sequence[Range], index: int, at: int, end: int) -> tuple[int, bool]:
    """Where the lines from `at` on that came in, or were there before, end; and whether they came in."""
    if index == len(places) or places[index].line >= end:
        return end, False
    place = places[index]
    if place.line > at:
        return place.line, False
    return min(end, place.line + place.line_count), True
