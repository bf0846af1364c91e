"""Reviews: decide about a proposal, accept, reject or revise it. Comparisons are in `comparison_routes`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import patch, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody

from server.http.dependencies import Cases, answer_reservation, query_dependency
from server.http.json_io import (
    MAX_BODY_BYTES,
    MAX_WORKFLOW_BYTES,
    HubRequest,
    JsonResponse,
)
from server.http.openapi import header, operation
from server.http.openapi_problems import MovedProblem
from server.http.preconditions import (
    REPLAYED,
    IfMatchHeader,
    KeyHeader,
    headers_of_write,
    if_match,
    request_key,
)
from server.http.refinement_routes import started_answer
from server.use_cases import UseCases
from server.wire.problem_details import MEDIA_TYPE
from server.wire.proposals import Proposal
from server.wire.refinements import StartedRefinement
from server.wire.reviews import (
    AcceptedProposal,
    AcceptProposalRequest,
    AcceptQuery,
    RejectProposalRequest,
    ReviseProposalRequest,
    SetDecisionsRequest,
)

#: What a request without a body says.
_ACCEPT = AcceptProposalRequest.model_validate({})
_REJECT = RejectProposalRequest()
_ETAG = header("ETag", "The etag of the proposal: for `If-Match` of a decision.")
_WRITE_STATUSES = (400, 403, 404, 409, 412, 413, 422, 428, 429)
_MOVED = {
    409: ResponseSpec(
        MovedProblem,
        description="The state does not allow it, or the draft has other changes of the same files",
        media_type=MEDIA_TYPE,
        generate_examples=False,
    )
}


@patch(
    "/api/proposals/{proposal_id:str}/decisions",
    **operation(
        "setDecisions",
        "reviews",
        _WRITE_STATUSES,
        response_description="The proposal without files, with its new etag",
        request_max_body_size=MAX_WORKFLOW_BYTES,
        response_headers=[_ETAG],
    ),
)
async def set_decisions(
    request: HubRequest,
    use_cases: Cases,
    proposal_id: FromPath[UUID],
    data: JSONBody[SetDecisionsRequest],
    etags: IfMatchHeader = None,
) -> JsonResponse[Proposal]:
    """Decide about files of a proposal, or about hunks of them: all of it or nothing. What is not named stays
    as it was."""
    with answer_reservation(request, use_cases) as reservation:
        proposal = await use_cases.reviews.decide(
            request.user, proposal_id, data.decisions, if_match=if_match(request), reservation=reservation
        )
    return JsonResponse(Proposal.of(proposal, listed=True), headers=headers_of_write(proposal.etag))


def _accepting(operation_id: str) -> dict[str, Any]:
    return operation(
        operation_id,
        "reviews",
        _WRITE_STATUSES,
        response_description="The proposal and the draft, with what differs in it",
        status_code=200,
        request_max_body_size=MAX_WORKFLOW_BYTES,
        dependencies=query_dependency(AcceptQuery),
        response_headers=[_ETAG, REPLAYED],
        responses=_MOVED,
    )


@post("/api/proposals/{proposal_id:str}/accept", **_accepting("acceptProposal"))
async def accept_proposal(
    request: HubRequest,
    use_cases: Cases,
    proposal_id: FromPath[UUID],
    params: NamedDependency[AcceptQuery],
    data: JSONBody[AcceptProposalRequest] = _ACCEPT,
    etags: IfMatchHeader = None,
    key: KeyHeader = None,
) -> JsonResponse[AcceptedProposal]:
    """Bring what is not rejected into the draft: as one new version, or nothing."""
    return await _accept(request, use_cases, proposal_id, params, data)


@post("/api/proposals/{proposal_id:str}/approve", **_accepting("approveProposal"))
async def approve_proposal(
    request: HubRequest,
    use_cases: Cases,
    proposal_id: FromPath[UUID],
    params: NamedDependency[AcceptQuery],
    data: JSONBody[AcceptProposalRequest] = _ACCEPT,
    etags: IfMatchHeader = None,
    key: KeyHeader = None,
) -> JsonResponse[AcceptedProposal]:
    """The same as `accept`."""
    return await _accept(request, use_cases, proposal_id, params, data)


async def _accept(
    request: HubRequest,
    use_cases: UseCases,
    proposal_id: UUID,
    params: AcceptQuery,
    data: AcceptProposalRequest,
) -> JsonResponse[AcceptedProposal]:
    with answer_reservation(request, use_cases) as reservation:
        accepted = await use_cases.reviews.accept(
            request.user,
            proposal_id,
            data.command(),
            if_match=if_match(request),
            validate_only=params.validate_only == "true",
            key=request_key(request),
            reservation=reservation,
        )
        model = AcceptedProposal.of(accepted)
    return JsonResponse(model, headers=headers_of_write(accepted.proposal.etag, replayed=accepted.replayed))


@post(
    "/api/proposals/{proposal_id:str}/reject",
    **operation(
        "rejectProposal",
        "reviews",
        _WRITE_STATUSES,
        response_description="The proposal without files",
        status_code=200,
        request_max_body_size=MAX_WORKFLOW_BYTES,
        response_headers=[_ETAG, REPLAYED],
    ),
)
async def reject_proposal(
    request: HubRequest,
    use_cases: Cases,
    proposal_id: FromPath[UUID],
    data: JSONBody[RejectProposalRequest] = _REJECT,
    etags: IfMatchHeader = None,
    key: KeyHeader = None,
) -> JsonResponse[Proposal]:
    """Turn a proposal down. The draft stays as it is."""
    reviewed = await use_cases.reviews.reject(
        request.user, proposal_id, data.comment, if_match=if_match(request), key=request_key(request)
    )
    headers = headers_of_write(reviewed.proposal.etag, replayed=reviewed.replayed)
    return JsonResponse(Proposal.of(reviewed.proposal, listed=True), headers=headers)


@post(
    "/api/proposals/{proposal_id:str}/revise",
    **operation(
        "reviseProposal",
        "reviews",
        (*_WRITE_STATUSES, 502),
        response_description="The next refinement",
        status_code=202,
        request_max_body_size=MAX_BODY_BYTES,
        response_headers=[header("Location", "The address of the next proposal."), REPLAYED],
    ),
)
async def revise_proposal(
    request: HubRequest,
    use_cases: Cases,
    proposal_id: FromPath[UUID],
    data: JSONBody[ReviseProposalRequest],
    etags: IfMatchHeader = None,
    key: KeyHeader = None,
) -> JsonResponse[StartedRefinement]:
    """Start the next round: a refinement from the same version of the draft, with what is to be done
    better."""
    with answer_reservation(request, use_cases) as reservation:
        started = await use_cases.revisions.revise(
            request.user,
            proposal_id,
            data.command(),
            if_match=if_match(request),
            key=request_key(request),
            reservation=reservation,
        )
    return started_answer(started)


REVIEW_ROUTES = [
    set_decisions,
    accept_proposal,
    approve_proposal,
    reject_proposal,
    revise_proposal,
]
