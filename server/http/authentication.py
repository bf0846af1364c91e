"""Authentication of HTTP requests, by a guard of the whole application: a route cannot forget it.

WebSockets authenticate before their upgrade, with more kinds of credentials (`server.http.sockets`).
"""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from server.domain.model import Principal
from server.http.eventstream import wants_event_stream
from server.http.openapi import EVENT_STREAM
from server.http.request_throttle import RequestThrottle
from server.http.stream_callers import StreamCallers
from server.use_cases import OPERATORS_PATH, READABLE_BY_SHARE_LINK, UseCases
from server.wire.addresses import SOCKET_PATH
from server.wire.validation import sha256_or_not_found, shape_id_or_not_found, uuid_or_not_found

#: Routes that anyone may call. Every other route needs a valid token.
PUBLIC = frozenset(
    {
        "/",
        "/problems",
        "/problems/{code}",
        "/healthz",
        "/api/health",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/asyncapi.json",
        SOCKET_PATH,
    }
)
#: The same by operation id, which is the method's name with a small letter.
_READABLE_BY_SHARE_LINK = frozenset(name[0].lower() + name[1:] for name in READABLE_BY_SHARE_LINK)

_RESOURCES = {
    "workflow_id": "workflow",
    "draft_id": "draft",
    "proposal_id": "proposal",
    "thread_id": "refinement",
    "user_id": "user",
    "link_id": "link",
    "webhook_id": "webhook",
    "delivery_id": "delivery",
}
_CONTENTS = {"sha256": "file"}

Connection = ASGIConnection[Any, Any, Any, Any]


class Authenticate:
    """The guard that authenticates the caller, who is `request.user` from then on, and checks the ids and
    hashes in the address.

    It is one guard because Litestar copies the route's handler for each.
    """

    def __init__(self, use_cases: UseCases, throttle: RequestThrottle, *, query_token: bool) -> None:
        self._authenticator, self._throttle = use_cases.authenticator, throttle
        self._stream_callers = StreamCallers(use_cases, query_token=query_token)

    async def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Raises Unauthenticated, PermissionDenied, NotFound, KeysUnavailable, DatabaseUnavailable, and as
        `RequestThrottle.identified`."""
        if is_public(connection):
            return
        connection.scope["user"] = await self._throttle.identified(
            connection.scope, self._caller(connection, handler)
        )
        _check_ids(connection)

    async def _caller(self, connection: Connection, handler: BaseRouteHandler) -> Principal:
        if handler.opt.get(EVENT_STREAM) and wants_event_stream(connection.headers):
            thread_id = connection.path_params["thread_id"]
            return await self._stream_callers.of_event_stream(thread_id, connection.scope)
        operation = str(getattr(handler, "operation_id", None))
        for_operators = connection.scope["path_template"].startswith(OPERATORS_PATH)
        return await self._authenticator.authenticate_headers(
            connection.headers.getall("authorization", []),
            read_only=operation in _READABLE_BY_SHARE_LINK,
            operation=operation[0].upper() + operation[1:] if for_operators else None,
        )


def is_public(connection: Connection) -> bool:
    """Whether anyone may send the request. OPTIONS tells the methods of an address, and nothing else."""
    return connection.scope["path_template"] in PUBLIC or connection.scope.get("method") == "OPTIONS"


def _check_ids(connection: Connection) -> None:
    """Raise NotFound if the address has an id or a hash that is not one."""
    for name, value in connection.path_params.items():
        if name in _RESOURCES:
            uuid_or_not_found(value, _RESOURCES[name])
        elif name == "shape_id":
            shape_id_or_not_found(value)
        else:
            sha256_or_not_found(value, _CONTENTS[name])
