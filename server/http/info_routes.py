"""The server's description."""

from __future__ import annotations

from litestar import get

from server.http.dependencies import Cases
from server.http.json_io import HubRequest
from server.http.openapi import operation
from server.wire.server_info import ServerInfo


@get("/api/info", **operation("getServerInfo", "server", (403,), response_description="The server"))
async def get_server_info(request: HubRequest, use_cases: Cases) -> ServerInfo:
    """The server's version, its features, and the limits of one caller."""
    return ServerInfo.of(use_cases.server_info)


INFO_ROUTES = [get_server_info]
