"""The use cases that compare proposals.

A caller that may not see a proposal gets the same answer as for one that does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from server.domain.errors import Conflict, InvalidArgument
from server.domain.model import Principal
from server.domain.off_loop import REVIEWS
from server.domain.outgoing import Reservation
from server.domain.review.comparison import Comparison, DiffBase, compare, sides, sides_of_proposals
from server.domain.review.patch import make_patch
from server.domain.review.store import ReviewFiles, ReviewStore


@dataclass(frozen=True, slots=True)
class PatchText:
    """A patch, and the paths of files that it cannot have (`server.domain.review.patch.Patch`)."""

    text: bytes
    left_out: tuple[str, ...]


class Comparisons:
    """Comparisons of proposals."""

    def __init__(self, store: ReviewStore) -> None:
        self._store = store

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
        patch = await REVIEWS.run(_patch, files, base, other)
        if reservation is not None:
            # The files are no longer needed.
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
        raise Conflict("the run is not over: there is nothing to compare yet")


def _patch(files: ReviewFiles, base: DiffBase, other: ReviewFiles | None) -> PatchText:
    compared = sides(files, base) if other is None else sides_of_proposals(other, files)
    patch = make_patch(compared.before, compared.after)
    return PatchText(b"".join(patch.text()), patch.left_out)
