"""The HTTP face: REST, server-sent events and WebSockets in one Litestar application."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from litestar import Litestar, WebSocket, get, websocket
from litestar.config.cors import CORSConfig
from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from server.domain.errors import NotFound
from server.http.authentication import Authenticate, check_ids
from server.http.errors import problem_response, refuse_upgrade, trace_id_of, upgrade_required
from server.http.json_io import HubRequest, JsonResponse
from server.http.openapi import openapi_document
from server.http.options import HttpOptions
from server.http.probes import Probes
from server.http.routes import ROUTES
from server.http.sockets import RefinementSocket
from server.use_cases import UseCases

#: For every answer: answers are data for their caller alone, never pages.
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-site",
    "Referrer-Policy": "no-referrer",
}
_CORS_METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
_CORS_HEADERS = [
    "Origin",
    "Content-Type",
    "Authorization",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "traceparent",
]
_CORS_MAX_AGE_S = 12 * 3600


def create_http_app(use_cases: UseCases, probes: Probes, options: HttpOptions) -> Litestar:
    """The face. Its streams need the protocols of `server.http.server.uvicorn_config`."""
    document = openapi_document(ROUTES)

    @get("/openapi.json", include_in_schema=False)
    async def openapi() -> JsonResponse[bytes]:
        """The description of the routes."""
        return JsonResponse(document)

    @get("/api/ws/refinements/{thread_id:str}", include_in_schema=False)
    async def socket_only(thread_id: FromPath[str]) -> None:
        """Refuse a request that does not ask for an upgrade."""
        raise upgrade_required()

    refinement_socket = RefinementSocket(use_cases, options)

    @websocket("/api/ws/refinements/{thread_id:str}")
    async def follow(socket: WebSocket[Any, Any, Any], thread_id: FromPath[str]) -> None:
        """Follow a refinement. The handler itself authenticates and refuses, before the upgrade."""
        await refinement_socket.serve(thread_id, socket.scope, socket.receive, socket.send)

    app = Litestar(
        [*ROUTES, openapi, socket_only, follow],
        guards=[Authenticate(use_cases.authenticator), check_ids],
        dependencies={
            "use_cases": Provide(lambda: use_cases, sync_to_thread=False),
            "probes": Provide(lambda: probes, sync_to_thread=False),
        },
        exception_handlers={Exception: partial(problem_response, dev=options.dev)},
        before_send=[_set_headers],
        request_class=HubRequest,
        response_class=JsonResponse,
        cors_config=CORSConfig(
            allow_origins=list(options.allowed_origins),
            allow_methods=_CORS_METHODS,  # type: ignore[arg-type]
            allow_headers=_CORS_HEADERS,
            allow_credentials=True,
            expose_headers=["Location", "ETag", "Link", "Retry-After", "Idempotency-Replayed"],
            max_age=_CORS_MAX_AGE_S,
        ),
        logging_config=None,
        openapi_config=None,
    )
    app.asgi_handler = _with_refused_upgrades(app.asgi_handler)
    return app


def _allowed(routes: Sequence[HTTPRouteHandler]) -> dict[str, str]:
    """The methods of each address, as in the header `Allow`."""
    methods: dict[str, set[str]] = {}
    for each in routes:
        for path in each.paths:
            methods.setdefault(path.replace(":str}", "}"), {"OPTIONS"}).update(each.http_methods)
    return {path: ", ".join(sorted(found)) for path, found in methods.items()}


_ALLOWED = _allowed(ROUTES)


def _with_refused_upgrades(app: ASGIApp) -> ASGIApp:
    """Answer a WebSocket at an unknown address with a problem. Litestar alone would only close it."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            await app(scope, receive, send)
            return
        refused = True

        async def answer(message: Message) -> None:
            nonlocal refused
            if refused and message["type"] == "websocket.close":
                error = NotFound("there is no resource at this address")
                await refuse_upgrade(scope, send, error, trace_id=trace_id_of(Headers.from_scope(scope)))
                return
            # Once accepted or refused, a WebSocket closes as usual.
            refused = False
            await send(message)

        await app(scope, receive, answer)

    return handle


async def _set_headers(message: Message, scope: Scope) -> None:
    if message["type"] in ("http.response.start", "websocket.http.response.start"):
        headers = MutableScopeHeaders.from_message(message)
        for name, value in _SECURITY_HEADERS.items():
            headers.setdefault(name, value)
        # For an address with several handlers, Litestar's own list is incomplete.
        allowed = _ALLOWED.get(str(scope.get("path_template")))
        if allowed is not None and "Allow" in headers:
            headers["Allow"] = allowed
