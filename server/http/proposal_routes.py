"""Proposals: list, read; the contents of their files."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from server.domain.outgoing import Reservation
from server.domain.proposals.contents import read_pieces
from server.http.dependencies import Cases, query_dependency
from server.http.file_content import CONTENT_RESPONSES, content_answer
from server.http.json_io import HubRequest, JsonResponse
from server.http.large_answers import JsonText, LargeAnswer
from server.http.lists import LINK, list_text
from server.http.openapi import header, operation
from server.wire.etags import quoted
from server.wire.proposals import (
    Proposal,
    ProposalPage,
    ProposalQuery,
    ProposalsQuery,
    proposal_json_parts,
)


@get(
    "/api/proposals",
    **operation(
        "listProposals",
        "proposals",
        (400, 429),
        response_description="A page of proposals",
        dependencies=query_dependency(ProposalsQuery),
        response_headers=[LINK],
    ),
)
async def list_proposals(
    request: HubRequest, use_cases: Cases, params: NamedDependency[ProposalsQuery]
) -> JsonResponse[ProposalPage]:
    """The proposals that the caller may see, without files, newest first."""

    async def read(reservation: Reservation) -> JsonText:
        page = await use_cases.proposals.list(
            request.user,
            limit=params.size,
            token=params.cursor,
            workflow_id=params.workflow_id,
            status=params.status,
            reservation=reservation,
        )
        return list_text(request, ProposalPage.of(page))

    return LargeAnswer(request, use_cases, read)


@get(
    "/api/proposals/{proposal_id:str}",
    **operation(
        "getProposal",
        "proposals",
        (400, 404, 429),
        response_description="The proposal",
        dependencies=query_dependency(ProposalQuery),
        response_headers=[header("ETag", "The etag of the proposal: for `If-Match` of a decision.")],
    ),
)
async def get_proposal(
    request: HubRequest,
    use_cases: Cases,
    proposal_id: FromPath[UUID],
    params: NamedDependency[ProposalQuery],
) -> JsonResponse[Proposal]:
    """A proposal, with its files once the run is over."""

    async def read(reservation: Reservation) -> JsonText:
        proposal = await use_cases.proposals.get(request.user, proposal_id, reservation)
        parts = proposal_json_parts(proposal, contents=params.view == "full")
        return JsonText(parts, {"ETag": quoted(proposal.etag)})

    return LargeAnswer(request, use_cases, read)


@get(
    "/api/proposals/{proposal_id:str}/files/{sha256:str}",
    **operation(
        "readFile",
        "proposals",
        (404, 416, 429),
        response_headers=[header("ETag", "The SHA-256 of the content, in quotes")],
        responses=CONTENT_RESPONSES,
    ),
)
async def read_file(
    request: HubRequest, use_cases: Cases, proposal_id: FromPath[UUID], sha256: FromPath[str]
) -> Response[Any]:
    """The content of a file of a proposal, or of one that the proposal rejects. It is addressed by its
    SHA-256, because a rejected path may not fit into an address."""
    read = partial(read_pieces, use_cases.contents, request.user, proposal_id, sha256.lower())
    return await content_answer(request, use_cases, read, sha256.lower())


PROPOSAL_ROUTES = [list_proposals, get_proposal, read_file]
