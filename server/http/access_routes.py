"""Access to proposals: grants and share links."""

from __future__ import annotations

from uuid import UUID

from litestar import delete, get, post, put
from litestar.params import FromPath, JSONBody

from server.http.dependencies import Cases
from server.http.json_io import MAX_BODY_BYTES, HubRequest
from server.http.openapi import operation
from server.wire.access import (
    CreateShareLinkRequest,
    Grant,
    GrantAccessRequest,
    Grants,
    ShareLink,
    ShareLinks,
)


@get(
    "/api/proposals/{proposal_id:str}/access",
    **operation("listGrants", "access", (403, 404), response_description="Who has access"),
)
async def list_grants(request: HubRequest, use_cases: Cases, proposal_id: FromPath[UUID]) -> Grants:
    """Who has access to a proposal; for its owners."""
    return Grants.of(await use_cases.access.grants(request.user, proposal_id))


@put(
    "/api/proposals/{proposal_id:str}/access/{user_id:str}",
    **operation(
        "grantAccess",
        "access",
        (400, 403, 404, 409, 413, 429),
        response_description="The access granted",
        request_max_body_size=MAX_BODY_BYTES,
    ),
)
async def grant_access(
    request: HubRequest,
    use_cases: Cases,
    proposal_id: FromPath[UUID],
    user_id: FromPath[UUID],
    data: JSONBody[GrantAccessRequest],
) -> Grant:
    """Give a user access to a proposal, or change it; for its owners."""
    return Grant.of(await use_cases.sharing.grant(request.user, proposal_id, user_id, data.access_type))


@post(
    "/api/proposals/{proposal_id:str}/access/accept",
    status_code=200,
    **operation(
        "acceptGrant",
        "access",
        (403, 404, 413),
        response_description="The access accepted",
        request_max_body_size=MAX_BODY_BYTES,
    ),
)
async def accept_grant(request: HubRequest, use_cases: Cases, proposal_id: FromPath[UUID]) -> Grant:
    """Accept the access that you were granted: owners then see your email."""
    return Grant.of(await use_cases.access.accept(request.user, proposal_id))


@delete(
    "/api/proposals/{proposal_id:str}/access/{user_id:str}",
    **operation(
        "revokeAccess", "access", (403, 404, 409), response_description="The user has no access any more"
    ),
)
async def revoke_access(
    request: HubRequest, use_cases: Cases, proposal_id: FromPath[UUID], user_id: FromPath[UUID]
) -> None:
    """Revoke a user's access to a proposal; for its owners, and for the user."""
    await use_cases.access.revoke(request.user, proposal_id, user_id)


@get(
    "/api/proposals/{proposal_id:str}/shares",
    **operation("listShareLinks", "access", (403, 404), response_description="The valid links"),
)
async def list_share_links(request: HubRequest, use_cases: Cases, proposal_id: FromPath[UUID]) -> ShareLinks:
    """The valid share links of a proposal, without their secrets; for its owners."""
    return ShareLinks.of(await use_cases.access.links(request.user, proposal_id))


@post(
    "/api/proposals/{proposal_id:str}/shares",
    **operation(
        "createShareLink",
        "access",
        (400, 403, 404, 409, 410, 413, 429),
        response_description="The link, with its secret",
        request_max_body_size=MAX_BODY_BYTES,
    ),
)
async def create_share_link(
    request: HubRequest, use_cases: Cases, proposal_id: FromPath[UUID], data: JSONBody[CreateShareLinkRequest]
) -> ShareLink:
    """Create a link that shows a proposal to anyone who has it; for its owners."""
    link = await use_cases.sharing.share(
        request.user, proposal_id, after_seq=data.after, lifetime=data.lifetime
    )
    return ShareLink.of(link)


@delete(
    "/api/proposals/{proposal_id:str}/shares/{link_id:str}",
    **operation("revokeShareLink", "access", (403, 404), response_description="The link is no longer valid"),
)
async def revoke_share_link(
    request: HubRequest, use_cases: Cases, proposal_id: FromPath[UUID], link_id: FromPath[UUID]
) -> None:
    """Revoke a share link; for the proposal's owners."""
    await use_cases.access.revoke_link(request.user, proposal_id, link_id)


ACCESS_ROUTES = [
    list_grants,
    grant_access,
    accept_grant,
    revoke_access,
    list_share_links,
    create_share_link,
    revoke_share_link,
]
