"""Proposals: list, read."""

from __future__ import annotations

from uuid import UUID

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from server.http.dependencies import Cases, query_dependency
from server.http.json_io import HubRequest, JsonResponse
from server.http.lists import LINK, list_response
from server.http.openapi import operation
from server.wire.proposals import Proposal, ProposalPage, ProposalsQuery


@get(
    "/api/proposals",
    **operation(
        "listProposals",
        "proposals",
        (400,),
        response_description="A page of proposals",
        dependencies=query_dependency(ProposalsQuery),
        response_headers=[LINK],
    ),
)
async def list_proposals(
    request: HubRequest, use_cases: Cases, params: NamedDependency[ProposalsQuery]
) -> JsonResponse[ProposalPage]:
    """The proposals that the caller may see, without files, newest first."""
    page = await use_cases.proposals.list(
        request.user,
        limit=params.size,
        token=params.cursor,
        workflow_id=params.workflow_id,
        status=params.status,
    )
    return list_response(request, ProposalPage.of(page))


@get(
    "/api/proposals/{proposal_id:str}",
    **operation("getProposal", "proposals", (404,), response_description="The proposal"),
)
async def get_proposal(request: HubRequest, use_cases: Cases, proposal_id: FromPath[UUID]) -> Proposal:
    """A proposal, with its files once the run is over."""
    return Proposal.of(await use_cases.proposals.get(request.user, proposal_id))


PROPOSAL_ROUTES = [list_proposals, get_proposal]
