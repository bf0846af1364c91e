"""The use cases that compare proposals, and versions of drafts.

A caller that may not see a proposal or a draft gets the same answer as for one that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from uuid import UUID

from server.domain.computations import Computations
from server.domain.drafts.draft import Draft
from server.domain.drafts.store import DraftStore
from server.domain.errors import Conflict, InvalidArgument
from server.domain.fair_budget import Reservation
from server.domain.model import Principal
from server.domain.review.comparison import (
    Comparison,
    DiffBase,
    Sides,
    compare,
    compare_versions,
    sides,
    sides_of_proposals,
    sides_of_versions,
)
from server.domain.review.patch import make_patch
from server.domain.review.store import ReviewFiles, ReviewStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PatchText:
    """A patch, and the paths of files that it cannot have (`server.domain.review.patch.Patch`)."""

    text: bytes
    left_out: tuple[str, ...]


class Comparisons:
    """Comparisons of proposals, and of versions of drafts.

    `answer` makes what the caller gets of a comparison, where it was made: see `Computations.run` for what it
    may be, and for the error of one that is too large.
    """

    def __init__(self, store: ReviewStore, drafts: DraftStore, computations: Computations) -> None:
        self._store, self._drafts, self._computations = store, drafts, computations

    async def compare(
        self,
        principal: Principal,
        proposal_id: UUID,
        answer: Callable[[Comparison], T],
        *,
        base: DiffBase = DiffBase.STARTED_FROM,
        other_id: UUID | None = None,
        reservation: Reservation | None = None,
    ) -> T:
        """The answer about the proposal compared with a version of the draft, or with another proposal.

        Raises NotFound, LimitReached; Conflict while one of the runs is not over; InvalidArgument for a
        proposal of another draft; Unprocessable for files that are too large; and as `answer`.
        """
        files, other = await self._read(principal, proposal_id, base, other_id, reservation)
        return await self._computations.run(
            _texts(files, other), _answered, answer, partial(compare, files, base, other)
        )

    async def patch(
        self,
        principal: Principal,
        proposal_id: UUID,
        *,
        base: DiffBase = DiffBase.STARTED_FROM,
        other_id: UUID | None = None,
        reservation: Reservation | None = None,
    ) -> PatchText:
        """The same comparison as a patch. Raises as `compare`."""
        files, other = await self._read(principal, proposal_id, base, other_id, reservation)
        found = partial(sides, files, base) if other is None else partial(sides_of_proposals, other, files)
        return await self._patch_of(_texts(files, other), found, reservation)

    async def compare_versions(
        self,
        principal: Principal,
        draft_id: UUID,
        answer: Callable[[Comparison], T],
        *,
        version: int | None = None,
        base_version: int | None = None,
        reservation: Reservation | None = None,
    ) -> T:
        """The answer about a version of a draft, by default the newest, compared with another one, by default
        the one before; the first version with no files.

        Raises NotFound, also for a version that does not exist; LimitReached; Unprocessable for files that
        are too large; and as `answer`.
        """
        base, draft = await self._drafts.pair(
            principal, draft_id, version, base_version, reservation=reservation
        )
        return await self._computations.run(
            _texts_of_versions(base, draft), _answered, answer, partial(compare_versions, base, draft)
        )

    async def patch_of_versions(
        self,
        principal: Principal,
        draft_id: UUID,
        *,
        version: int | None = None,
        base_version: int | None = None,
        reservation: Reservation | None = None,
    ) -> PatchText:
        """The same comparison as a patch. Raises as `compare_versions`."""
        base, draft = await self._drafts.pair(
            principal, draft_id, version, base_version, reservation=reservation
        )
        found = partial(sides_of_versions, base, draft)
        return await self._patch_of(_texts_of_versions(base, draft), found, reservation)

    async def _patch_of(
        self, texts: Iterable[bytes], find_sides: Callable[[], Sides], reservation: Reservation | None
    ) -> PatchText:
        """The patch between the sides that `find_sides` gives. Only its bytes stay reserved: the files are no
        longer needed."""
        patch = await self._computations.run(texts, _patch_text, find_sides)
        if reservation is not None:
            await reservation.resize(len(patch.text))
        return patch

    async def _read(
        self,
        principal: Principal,
        proposal_id: UUID,
        base: DiffBase,
        other_id: UUID | None,
        reservation: Reservation | None,
    ) -> tuple[ReviewFiles, ReviewFiles | None]:
        files = await self._store.read(
            principal, proposal_id, draft_contents=base is DiffBase.DRAFT, reservation=reservation
        )
        check_over(files)
        if other_id is None:
            return files, None
        held_bytes = 0 if reservation is None else reservation.asked_bytes
        other = await self._store.read(principal, other_id, reservation=reservation, held_bytes=held_bytes)
        check_over(other)
        if other.proposal.draft_id != files.proposal.draft_id:
            raise InvalidArgument({"other_proposal_id": "is not a proposal of the same draft"})
        return files, other


def check_over(files: ReviewFiles) -> None:
    """Raise Conflict while the proposal's run is not over."""
    if not files.proposal.status.terminal:
        raise Conflict("the run has not ended: there is nothing to compare yet")


def _answered(answer: Callable[[Comparison], T], compared: Callable[[], Comparison]) -> T:
    return answer(compared())


def _patch_text(find_sides: Callable[[], Sides]) -> PatchText:
    compared = find_sides()
    patch = make_patch(compared.before, compared.after)
    return PatchText(b"".join(patch.text()), patch.left_out)


def _texts(files: ReviewFiles, other: ReviewFiles | None) -> Iterator[bytes]:
    yield from files.differing_texts
    if other is not None:
        yield from other.differing_texts


def _texts_of_versions(base: Draft | None, draft: Draft) -> Iterator[bytes]:
    before = {} if base is None else base.files
    for one, other in ((before, draft.files), (draft.files, before)):
        for path, file in one.items():
            if path not in other or other[path].sha256 != file.sha256:
                yield file.content or b""
