"""Authentication of HTTP requests, by guards of the whole application: a route cannot forget them.

WebSockets authenticate before their upgrade, with more kinds of credentials (`server.http.sockets`).
"""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from server.auth.authenticator import Authenticator
from server.use_cases import READABLE_BY_SHARE_LINK
from server.wire.validation import sha256_or_not_found, uuid_or_not_found

#: Routes that anyone may call. Every other route needs a valid token.
PUBLIC = frozenset(
    {
        "/healthz",
        "/api/health",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/api/ws/refinements/{thread_id}",
    }
)
#: The same by operation id, which is the method's name with a small letter.
_READABLE_BY_SHARE_LINK = frozenset(name[0].lower() + name[1:] for name in READABLE_BY_SHARE_LINK)

_RESOURCES = {
    "workflow_id": "workflow",
    "proposal_id": "proposal",
    "thread_id": "refinement",
    "user_id": "user",
    "link_id": "link",
}
_CONTENTS = {"sha256": "file"}

Connection = ASGIConnection[Any, Any, Any, Any]


class Authenticate:
    """The guard that authenticates the caller, who is `request.user` from then on."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Raises Unauthenticated, PermissionDenied, KeysUnavailable, DatabaseUnavailable."""
        if is_public(connection):
            return
        operation = getattr(handler, "operation_id", None)
        connection.scope["user"] = await self._authenticator.authenticate_header(
            connection.headers.get("authorization"), read_only=operation in _READABLE_BY_SHARE_LINK
        )


def is_public(connection: Connection) -> bool:
    """Whether anyone may send the request. OPTIONS tells the methods of an address, and nothing else."""
    return connection.scope["path_template"] in PUBLIC or connection.scope.get("method") == "OPTIONS"


def check_ids(connection: Connection, handler: BaseRouteHandler) -> None:
    """The guard that checks the ids and hashes in the address. Raises NotFound for what is not one."""
    if is_public(connection):
        return
    for name, value in connection.path_params.items():
        if name in _RESOURCES:
            uuid_or_not_found(value, _RESOURCES[name])
        else:
            sha256_or_not_found(value, _CONTENTS[name])
