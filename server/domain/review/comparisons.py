"""The use cases that compare proposals, and versions of drafts.

A caller that may not see a proposal or a draft gets the same answer as for one that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from server.domain.drafts.store import DraftStore
from server.domain.errors import Conflict, InvalidArgument
from server.domain.model import Principal
from server.domain.off_loop import REVIEWS
from server.domain.outgoing import Reservation
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


@dataclass(frozen=True, slots=True)
class PatchText:
    """A patch, and the paths of files that it cannot have (`server.domain.review.patch.Patch`)."""

    text: bytes
    left_out: tuple[str, ...]


class Comparisons:
    """Comparisons of proposals, and of versions of drafts."""

    def __init__(self, store: ReviewStore, drafts: DraftStore) -> None:
        self._store, self._drafts = store, drafts

    async def compare(
        self,
        principal: Principal,
        proposal_id: UUID,
        *,
        base: DiffBase = DiffBase.STARTED_FROM,
        other_id: UUID | None = None,
        reservation: Reservation | None = None,
    ) -> Comparison:
        """The proposal compared with a version of the draft, or with another proposal.

        Raises NotFound, LimitReached; Conflict while one of the runs is not over; InvalidArgument for a
        proposal of another draft.
        """
        files, other = await self._read(principal, proposal_id, base, other_id, reservation)
        return await REVIEWS.run(compare, files, base, other)

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
        if other is None:
            return await _patch_of(partial(sides, files, base), reservation)
        return await _patch_of(partial(sides_of_proposals, other, files), reservation)

    async def compare_versions(
        self,
        principal: Principal,
        draft_id: UUID,
        *,
        version: int | None = None,
        base_version: int | None = None,
        reservation: Reservation | None = None,
    ) -> Comparison:
        """A version of a draft, by default the newest, compared with another one, by default the one before;
        the first version with no files.

        Raises NotFound, also for a version that does not exist; LimitReached.
        """
        base, draft = await self._drafts.pair(
            principal, draft_id, version, base_version, reservation=reservation
        )
        return await REVIEWS.run(compare_versions, base, draft)

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
        return await _patch_of(partial(sides_of_versions, base, draft), reservation)

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


async def _patch_of(find_sides: Callable[[], Sides], reservation: Reservation | None) -> PatchText:
    """The patch between the sides that `find_sides` gives. Only its bytes stay reserved: the files are no
    longer needed."""

    def make() -> PatchText:
        compared = find_sides()
        patch = make_patch(compared.before, compared.after)
        return PatchText(b"".join(patch.text()), patch.left_out)

    patch = await REVIEWS.run(make)
    if reservation is not None:
        await reservation.resize(len(patch.text))
    return patch
