"""Comparisons: of a proposal with the draft or with another one, and of two versions of a draft."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from server.domain.fair_budget import Reservation
from server.domain.review.comparisons import PatchText
from server.http.dependencies import Cases, query_dependency
from server.http.json_io import HubRequest
from server.http.large_answers import JsonText, LargeAnswer
from server.http.lists import LINK, page_text
from server.http.openapi import PATCH_TEXT, header, operation
from server.use_cases import UseCases
from server.wire.diff_answers import DiffText, PageText
from server.wire.diff_queries import ComparisonQuery, DiffQuery, DraftDiffQuery
from server.wire.diffs import DiffPage, DraftDiffPage

_PATCH_TYPE = "text/x-patch"


def _comparing(operation_id: str, query: type[ComparisonQuery], statuses: tuple[int, ...]) -> dict[str, Any]:
    return operation(
        operation_id,
        "reviews",
        statuses,
        response_description="A page of files that differ",
        dependencies=query_dependency(query),
        response_headers=[
            LINK,
            header("Left-Out-Files", "Of a patch: how many files no folder holds beside another one."),
        ],
        opt={PATCH_TEXT: True},
    )


@get(
    "/api/proposals/{proposal_id:str}/diff",
    **_comparing("diffProposal", DiffQuery, (400, 404, 409, 422, 429)),
)
async def diff_proposal(
    request: HubRequest,
    use_cases: Cases,
    proposal_id: FromPath[UUID],
    params: NamedDependency[DiffQuery],
) -> Response[DiffPage]:
    """How a proposal differs from the version of the draft that its run started from, from the newest
    version, or from another proposal. With `Accept: text/x-patch`: all of it as a patch in git's format."""
    sides: dict[str, Any] = {"base": params.base, "other_id": params.other_proposal_id}

    def patch(reservation: Reservation) -> Awaitable[PatchText]:
        return use_cases.comparisons.patch(request.user, proposal_id, reservation=reservation, **sides)

    def compare(reservation: Reservation) -> Awaitable[PageText]:
        return use_cases.comparisons.compare(
            request.user, proposal_id, DiffText(params), reservation=reservation, **sides
        )

    return _answer(request, use_cases, patch, compare)


@get("/api/drafts/{draft_id:str}/diff", **_comparing("diffDraft", DraftDiffQuery, (400, 404, 422, 429)))
async def diff_draft(
    request: HubRequest,
    use_cases: Cases,
    draft_id: FromPath[UUID],
    params: NamedDependency[DraftDiffQuery],
) -> Response[DraftDiffPage]:
    """How a version of a draft differs from another one, by default from the one before it. The first version
    is compared with no files. With `Accept: text/x-patch`: all of it as a patch in git's format."""
    sides = {"version": params.version or None, "base_version": params.base_version or None}

    def patch(reservation: Reservation) -> Awaitable[PatchText]:
        return use_cases.comparisons.patch_of_versions(
            request.user, draft_id, reservation=reservation, **sides
        )

    def compare(reservation: Reservation) -> Awaitable[PageText]:
        return use_cases.comparisons.compare_versions(
            request.user, draft_id, DiffText(params, is_draft=True), reservation=reservation, **sides
        )

    return _answer(request, use_cases, patch, compare)


def _answer(
    request: HubRequest,
    use_cases: UseCases,
    patch: Callable[[Reservation], Awaitable[PatchText]],
    compare: Callable[[Reservation], Awaitable[PageText]],
) -> Response[Any]:
    """The answer: a patch if the request accepts one, otherwise a page of the comparison."""

    async def read_patch(reservation: Reservation) -> JsonText:
        found = await patch(reservation)
        headers = {"content-type": _PATCH_TYPE, "Left-Out-Files": str(len(found.left_out)), "Vary": "Accept"}
        return JsonText(found.text, headers)

    async def read_page(reservation: Reservation) -> JsonText:
        page = await compare(reservation)
        return page_text(request, page.text, page.next_cursor, {"Vary": "Accept"})

    accept = request.joined_header("accept") or ""
    return LargeAnswer(request, use_cases, read_patch if _PATCH_TYPE in accept.lower() else read_page)


COMPARISON_ROUTES = [diff_proposal, diff_draft]
