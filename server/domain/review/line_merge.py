"""Three texts become one, line by line: what one side changed is taken, and what both changed is a conflict.

Changes that touch each other are a conflict, too: people decide which of them comes first. The
result is that of `git merge-file` where both match the same lines (ADR 0034).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.domain.review.hunks import Range, differing_ranges
from server.domain.review.lines import count_lines


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of one of the texts. first: the index of the first line, from 0."""

    first: int
    count: int
    text: bytes


@dataclass(frozen=True, slots=True)
class ConflictPlace:
    """A place that the sides changed in different ways: its lines in each of the three texts."""

    base: Lines
    draft: Lines
    proposal: Lines

    def __reduce__(self) -> tuple[object, ...]:
        # A third of the time that its parts take as objects: another process may send thousands.
        parts = (self.base, self.draft, self.proposal)
        return _place, tuple(value for each in parts for value in (each.first, each.count, each.text))


def _place(*values: Any) -> ConflictPlace:
    return ConflictPlace(Lines(*values[:3]), Lines(*values[3:6]), Lines(*values[6:]))


@dataclass(frozen=True, slots=True)
class MergedText:
    """The merged text. In conflicts it has the draft's lines."""

    content: bytes
    conflicts: tuple[ConflictPlace, ...] = ()


@dataclass(slots=True)
class _Region:
    """Changes that touch each other, in order, and the bytes of the base that they are in."""

    start: int
    end: int
    draft: list[Range] = field(default_factory=list)
    proposal: list[Range] = field(default_factory=list)


def merge_texts(base: bytes, draft: bytes, proposal: bytes) -> MergedText:
    """The base with the changes of both sides."""
    parts: list[bytes] = []
    conflicts: list[ConflictPlace] = []
    at = 0
    #: The line of each text that is at `at`.
    lines = _Position(0, 0, 0)
    for region in _regions(differing_ranges(base, draft), differing_ranges(base, proposal)):
        between = base[at : region.start]
        equal_lines = count_lines(between)
        lines = lines.after(equal_lines, equal_lines, equal_lines)
        ours = _side(base, draft, region.draft, region)
        theirs = _side(base, proposal, region.proposal, region)
        original = base[region.start : region.end]
        place = ConflictPlace(
            Lines(lines.base, count_lines(original), original),
            Lines(lines.draft, count_lines(ours), ours),
            Lines(lines.proposal, count_lines(theirs), theirs),
        )
        if region.draft and region.proposal and ours != theirs:
            conflicts.append(place)
        parts += [between, ours if region.draft else theirs]
        lines = lines.after(place.base.count, place.draft.count, place.proposal.count)
        at = region.end
    parts.append(base[at:])
    return MergedText(b"".join(parts), tuple(conflicts))


@dataclass(frozen=True, slots=True)
class _Position:
    """A line of each text."""

    base: int
    draft: int
    proposal: int

    def after(self, base: int, draft: int, proposal: int) -> _Position:
        """So many lines further on."""
        return _Position(self.base + base, self.draft + draft, self.proposal + proposal)


def _regions(draft: Iterable[Range], proposal: Iterable[Range]) -> Iterator[_Region]:
    """The changes of both sides, those that touch each other together."""
    changes = [*((each, True) for each in draft), *((each, False) for each in proposal)]
    region: _Region | None = None
    for change, of_draft in sorted(changes, key=lambda each: (each[0].base_offset, each[0].base_end)):
        if region is None or change.base_offset > region.end:
            if region is not None:
                yield region
            region = _Region(change.base_offset, change.base_end)
        region.end = max(region.end, change.base_end)
        (region.draft if of_draft else region.proposal).append(change)
    if region is not None:
        yield region


def _side(base: bytes, text: bytes, changes: Sequence[Range], region: _Region) -> bytes:
    """A side's lines in the place of the region."""
    if not changes:
        return base[region.start : region.end]
    first, last = changes[0], changes[-1]
    return text[first.offset - (first.base_offset - region.start) : last.end + region.end - last.base_end]
