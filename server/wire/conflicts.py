"""Conflicts of a merge on the wire, cut to a number of bytes: the message and the JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import msgspec

from server.domain.errors import DraftMoved
from server.domain.review.conflicts import MAX_SHOWN_BYTES, ShownConflict, first_places, place_bytes
from server.domain.review.file_merge import ConflictKind
from server.domain.review.line_merge import ConflictPlace as DomainPlace
from server.domain.review.line_merge import Lines
from server.encoding.json_text import decode_surrogates, replace_surrogates
from server.wire import messages as m

#: Bytes of a response's conflicts, of a problem's, and of a status's: clients accept metadata of 8 KiB by
#: default, where each byte of a detail takes one and a third.
MAX_RESPONSE_BYTES, MAX_PROBLEM_BYTES, MAX_STATUS_BYTES = MAX_SHOWN_BYTES, 1 << 20, 2 << 10
#: Bytes of a conflict besides its path.
_CONFLICT_BYTES = 256

KIND_NUMBERS = {kind: m.ConflictKind.Value(f"CONFLICT_KIND_{kind.name}") for kind in ConflictKind}


class TextRange(msgspec.Struct):
    """Lines of a text, with their line ends. `first_line` counts from 1; of no lines, it is the line that
    they would be before."""

    first_line: int
    line_count: int
    text: str

    @classmethod
    def of(cls, lines: Lines) -> Self:
        """The JSON of a record."""
        return cls(lines.first + 1, lines.count, replace_surrogates(decode_surrogates(lines.text)))


class ConflictPlace(msgspec.Struct):
    """A place that both sides changed in different ways: its lines in each of the three texts."""

    base: TextRange
    draft: TextRange
    proposal: TextRange

    @classmethod
    def of(cls, place: DomainPlace) -> Self:
        """The JSON of a record."""
        return cls(TextRange.of(place.base), TextRange.of(place.draft), TextRange.of(place.proposal))


class MergeConflict(msgspec.Struct):
    """A file that both sides changed. A hash is null where there is no file. `truncated`: places were left
    out, because the answer would be too large."""

    path: str
    kind: ConflictKind
    base_sha256: str | None
    draft_sha256: str | None
    proposal_sha256: str | None
    places: list[ConflictPlace]
    truncated: bool


def fit_conflicts(conflicts: Sequence[ShownConflict], max_bytes: int) -> list[MergeConflict]:
    """The first conflicts, in about so many bytes of text: first as many as fit without their places, then
    as many of the places."""
    left = max_bytes
    shown: list[ShownConflict] = []
    for conflict in conflicts:
        left -= len(conflict.path.encode("utf-8", "surrogatepass")) + _CONFLICT_BYTES
        if left < 0:
            break
        shown.append(conflict)
    fitting = []
    for conflict in shown:
        places = list(first_places(conflict.places, left))
        left -= sum(map(place_bytes, places))
        fitting.append(_conflict(conflict, places))
    return fitting


def _conflict(conflict: ShownConflict, places: Sequence[DomainPlace]) -> MergeConflict:
    return MergeConflict(
        replace_surrogates(conflict.path),
        conflict.kind,
        conflict.base_sha256,
        conflict.draft_sha256,
        conflict.proposal_sha256,
        [ConflictPlace.of(place) for place in places],
        len(places) < conflict.place_count,
    )


def conflict_message(conflict: MergeConflict) -> m.MergeConflict:
    """A conflict (contract: MergeConflict)."""
    return m.MergeConflict(
        path=conflict.path,
        kind=KIND_NUMBERS[conflict.kind],
        base_sha256=conflict.base_sha256 or "",
        draft_sha256=conflict.draft_sha256 or "",
        proposal_sha256=conflict.proposal_sha256 or "",
        places=[
            m.ConflictPlace(
                base=_range(place.base), draft=_range(place.draft), proposal=_range(place.proposal)
            )
            for place in conflict.places
        ],
        truncated=conflict.truncated,
    )


def _range(lines: TextRange) -> m.TextRange:
    return m.TextRange(first_line=lines.first_line, line_count=lines.line_count, text=lines.text)


def draft_moved_members(moved: DraftMoved) -> dict[str, object]:
    """The members of the problem."""
    return {
        "base_version": moved.base_version,
        "draft_version": moved.draft_version,
        "draft_etag": moved.draft_etag,
        "conflicts": fit_conflicts(moved.conflicts, MAX_PROBLEM_BYTES),
        "conflict_count": len(moved.conflicts),
    }


def draft_moved_message(moved: DraftMoved) -> m.DraftMoved:
    """The detail of the status (contract: DraftMoved)."""
    conflicts = fit_conflicts(moved.conflicts, MAX_STATUS_BYTES)
    for conflict in conflicts:
        conflict.truncated, conflict.places = conflict.truncated or bool(conflict.places), []
    return m.DraftMoved(
        base_version=moved.base_version,
        draft_version=moved.draft_version,
        draft_etag=moved.draft_etag,
        conflicts=map(conflict_message, conflicts),
        conflict_count=len(moved.conflicts),
    )
