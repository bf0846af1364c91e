"""The caller as a user."""

from __future__ import annotations

from litestar import get

from server.http.json_io import HubRequest
from server.http.openapi import operation
from server.wire.access import Me


@get("/api/me", **operation("getMe", "users", (403,), response_description="The caller"))
async def get_me(request: HubRequest) -> Me:
    """Who the token belongs to. Others need the id to share a proposal with its user."""
    return Me.of(request.user)


USER_ROUTES = [get_me]
