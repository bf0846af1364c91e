"""Proposals: list, read; the contents of their files, one by one or as an archive."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from server.domain.fair_budget import Reservation
from server.domain.proposals.archive import ArchivedFiles
from server.http.archive_answers import ARCHIVE_HEADERS, ARCHIVE_RESPONSES, archive_answer
from server.http.dependencies import Cases, query_dependency
from server.http.file_content import CONTENT_HEADERS, CONTENT_RESPONSES, content_answer
from server.http.json_io import HubRequest, JsonResponse
from server.http.large_answers import JsonText, LargeAnswer
from server.http.lists import LINK, list_text
from server.http.openapi import header, operation
from server.http.preconditions import NOT_MODIFIED, IfNoneMatchHeader, not_modified
from server.wire.etags import quoted
from server.wire.proposal_queries import ProposalQuery, ProposalsQuery
from server.wire.proposals import Proposal, ProposalPage, proposal_json_parts


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
            only=params.filter,
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
        response_headers=[
            header("ETag", "The etag of the proposal: for `If-Match` of a decision, and for `If-None-Match`.")
        ],
        responses=NOT_MODIFIED,
    ),
)
async def get_proposal(
    request: HubRequest,
    use_cases: Cases,
    proposal_id: FromPath[UUID],
    params: NamedDependency[ProposalQuery],
    if_none_match: IfNoneMatchHeader = None,
) -> JsonResponse[Proposal]:
    """A proposal, with its files once the run is over."""

    async def read(reservation: Reservation) -> JsonText:
        if if_none_match is not None:
            known = await use_cases.proposals.get(request.user, proposal_id, files=False)
            if known.shown_by_etag and (unchanged := not_modified(request, known.etag)):
                return unchanged
        proposal = await use_cases.proposals.get(
            request.user, proposal_id, reservation, contents=params.view == "full"
        )
        return JsonText(proposal_json_parts(proposal), {"ETag": quoted(proposal.etag)})

    return LargeAnswer(request, use_cases, read)


@get(
    "/api/proposals/{proposal_id:str}/files/{sha256:str}",
    **operation(
        "readFile",
        "proposals",
        (404, 416, 429),
        response_headers=CONTENT_HEADERS,
        responses=CONTENT_RESPONSES,
    ),
)
async def read_file(
    request: HubRequest, use_cases: Cases, proposal_id: FromPath[UUID], sha256: FromPath[str]
) -> Response[Any]:
    """The content of a file of a proposal, or of one that the proposal rejects. It is addressed by its
    SHA-256, because a rejected path may not fit into an address."""
    return await content_answer(request, use_cases, use_cases.contents, proposal_id, sha256)


@get(
    "/api/proposals/{proposal_id:str}/archive",
    **operation(
        "readArchive",
        "proposals",
        (404, 409, 429),
        responses=ARCHIVE_RESPONSES,
        response_headers=ARCHIVE_HEADERS,
    ),
)
async def read_archive(request: HubRequest, use_cases: Cases, proposal_id: FromPath[UUID]) -> Response[Any]:
    """The generated files as a zip archive, whose names all lead into the folder that it is unpacked in. Its
    comment names the files that some systems cannot store or keep apart, and those that are not in it because
    no folder holds them beside another."""

    async def read(reservation: Reservation) -> tuple[ArchivedFiles, str]:
        proposal = await use_cases.proposals.get(request.user, proposal_id, reservation, contents=False)
        return ArchivedFiles.of_proposal(proposal), f"proposal-{proposal_id}"

    return await archive_answer(request, use_cases, use_cases.contents, read)


PROPOSAL_ROUTES = [list_proposals, get_proposal, read_file, read_archive]
