"""The methods of reviews: check the fields, call the use case, make the answer."""

from __future__ import annotations

from ide_orchestrator.v1.review_pb2_grpc import ReviewServiceServicer
from server.domain.off_loop import REVIEWS
from server.domain.review.comparisons import Comparisons, PatchText
from server.domain.review.reviews import Reviews
from server.domain.review.revisions import Revisions
from server.grpc.answers import message_form, reserved
from server.grpc.authentication import Context, caller
from server.grpc.writing import MessageWriter
from server.wire import messages as m
from server.wire.diff_answers import DiffMessage, DraftDiffMessage
from server.wire.etags import if_match
from server.wire.pages import PAGE_NAMES
from server.wire.proposals import proposal_message
from server.wire.refinements import refinement_message
from server.wire.review_messages import (
    accept_proposal,
    accepted_message,
    compared_versions,
    diff_paths,
    diff_query,
    draft_diff_query,
    patch_pieces,
    patch_query,
    rejected_message,
    rejection_comment,
    revise_proposal,
    set_decisions,
)
from server.wire.validation import idempotency_key, renamed_fields, uuid_or_not_found


class ReviewServicer(ReviewServiceServicer):
    """Compare proposals and decide about them (contract: ReviewService)."""

    def __init__(
        self, comparisons: Comparisons, reviews: Reviews, revisions: Revisions, writer: MessageWriter
    ) -> None:
        self._comparisons, self._writer = comparisons, writer
        self._reviews, self._revisions = reviews, revisions

    async def DiffProposal(  # type: ignore[override]
        self, request: m.DiffProposalRequest, context: Context
    ) -> bytes:
        """Contract: DiffProposal. Returns the serialised response."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        query, paths = diff_query(request), diff_paths(request)
        with renamed_fields(PAGE_NAMES):
            return await self._comparisons.compare(
                caller(),
                proposal_id,
                DiffMessage(query, paths, message_form()),
                base=query.base,
                other_id=query.other_proposal_id,
                reservation=reserved(),
            )

    async def ReadPatch(  # type: ignore[override]
        self, request: m.ReadPatchRequest, context: Context
    ) -> None:
        """Contract: ReadPatch. Writes serialised messages itself."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        base, other_id = patch_query(request)
        patch = await self._comparisons.patch(
            caller(), proposal_id, base=base, other_id=other_id, reservation=reserved()
        )
        await self._write_patch(context, patch, m.ReadPatchResponse, proposal_id=str(proposal_id))

    async def DiffDraft(  # type: ignore[override]
        self, request: m.DiffDraftRequest, context: Context
    ) -> bytes:
        """Contract: DiffDraft. Returns the serialised response."""
        draft_id = uuid_or_not_found(request.draft_id, "draft")
        query, paths = draft_diff_query(request), diff_paths(request)
        with renamed_fields(PAGE_NAMES):
            return await self._comparisons.compare_versions(
                caller(),
                draft_id,
                DraftDiffMessage(query, paths, message_form()),
                **compared_versions(request),
                reservation=reserved(),
            )

    async def ReadDraftPatch(  # type: ignore[override]
        self, request: m.ReadDraftPatchRequest, context: Context
    ) -> None:
        """Contract: ReadDraftPatch. Writes serialised messages itself."""
        draft_id = uuid_or_not_found(request.draft_id, "draft")
        patch = await self._comparisons.patch_of_versions(
            caller(), draft_id, **compared_versions(request), reservation=reserved()
        )
        await self._write_patch(context, patch, m.ReadDraftPatchResponse, draft_id=str(draft_id))

    async def SetDecisions(self, request: m.SetDecisionsRequest, context: Context) -> m.SetDecisionsResponse:
        """Contract: SetDecisions."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        proposal = await self._reviews.decide(
            caller(),
            proposal_id,
            set_decisions(request),
            if_match=if_match(request.etag),
            reservation=reserved(),
        )
        return m.SetDecisionsResponse(proposal=proposal_message(proposal.without_files()))

    async def AcceptProposal(
        self, request: m.AcceptProposalRequest, context: Context
    ) -> m.AcceptProposalResponse:
        """Contract: AcceptProposal."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        accepted = await self._reviews.accept(
            caller(),
            proposal_id,
            accept_proposal(request),
            if_match=if_match(request.etag),
            validate_only=request.validate_only,
            key=idempotency_key(request.request_id or None, "request_id"),
            reservation=reserved(),
        )
        return await REVIEWS.run(accepted_message, accepted)

    async def RejectProposal(
        self, request: m.RejectProposalRequest, context: Context
    ) -> m.RejectProposalResponse:
        """Contract: RejectProposal."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        reviewed = await self._reviews.reject(
            caller(),
            proposal_id,
            rejection_comment(request),
            if_match=if_match(request.etag),
            key=idempotency_key(request.request_id or None, "request_id"),
        )
        return rejected_message(reviewed)

    async def ReviseProposal(
        self, request: m.ReviseProposalRequest, context: Context
    ) -> m.ReviseProposalResponse:
        """Contract: ReviseProposal."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        started = await self._revisions.revise(
            caller(),
            proposal_id,
            revise_proposal(request),
            if_match=if_match(request.etag),
            key=idempotency_key(request.request_id or None, "request_id"),
            reservation=reserved(),
        )
        return m.ReviseProposalResponse(
            refinement=refinement_message(started.refinement), replayed=started.replayed
        )

    async def _write_patch(
        self,
        context: Context,
        patch: PatchText,
        response: type[m.ReadPatchResponse | m.ReadDraftPatchResponse],
        **ids: str,
    ) -> None:
        async with self._writer.abort_if_slow(context, **ids):
            for piece in patch_pieces(patch.text, len(patch.left_out), response):
                await self._writer.write(context, await message_form().message(piece), reserved())
