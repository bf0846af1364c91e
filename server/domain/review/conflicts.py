"""The conflicts of a merge as callers see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from server.domain.proposals.files import File
from server.domain.review.file_merge import ConflictKind, MergeConflict
from server.domain.review.line_merge import ConflictPlace

#: Bytes of the places that are shown of all conflicts, and of a place besides its texts.
MAX_SHOWN_BYTES, PLACE_BYTES = 2 << 20, 128


@dataclass(frozen=True, slots=True)
class ShownConflict:
    """A conflict, without the contents of its files. A hash is None if that side has no such file. places:
    the first ones; place_count: how many there are in all."""

    path: str
    kind: ConflictKind
    base_sha256: str | None
    draft_sha256: str | None
    proposal_sha256: str | None
    places: tuple[ConflictPlace, ...] = ()
    place_count: int = 0


def shown_conflicts(conflicts: Iterable[MergeConflict]) -> Iterator[ShownConflict]:
    """The conflicts, with as many of their places as are shown: there may be a hundred thousand."""
    left = MAX_SHOWN_BYTES
    for conflict in conflicts:
        places = tuple(first_places(conflict.places, left))
        left -= sum(map(place_bytes, places))
        yield ShownConflict(
            conflict.path,
            conflict.kind,
            _hash(conflict.base),
            _hash(conflict.draft),
            _hash(conflict.proposal),
            places,
            len(conflict.places),
        )


def first_places(places: Iterable[ConflictPlace], max_bytes: int) -> Iterator[ConflictPlace]:
    """The first places, in so many bytes."""
    for place in places:
        max_bytes -= place_bytes(place)
        if max_bytes < 0:
            return
        yield place


def place_bytes(place: ConflictPlace) -> int:
    """About the bytes of a place on the wire."""
    return PLACE_BYTES + sum(len(lines.text) for lines in (place.base, place.draft, place.proposal))


def _hash(file: File | None) -> str | None:
    return None if file is None else file.sha256
