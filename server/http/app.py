"""The HTTP interface: REST, server-sent events and WebSockets in one Litestar application."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from litestar import Litestar, WebSocket, get, websocket
from litestar.datastructures import Headers, MutableScopeHeaders, State
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.params import FromPath
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from server.domain.errors import NotFound
from server.http.asyncapi import asyncapi_document
from server.http.authentication import Authenticate
from server.http.cors import with_cors
from server.http.development_routes import development_routes
from server.http.errors import problem_response, refuse_upgrade, upgrade_required
from server.http.json_io import INCOMING, REFUSED_BYTES, HubRequest, JsonResponse, give_back_room
from server.http.methods import allowed_methods, with_head
from server.http.openapi import openapi_document
from server.http.options import HttpOptions
from server.http.probes import Probes
from server.http.request_throttle import RequestThrottle
from server.http.request_turns import with_turns
from server.http.routes import ROUTES
from server.http.sockets import RefinementSocket
from server.http.workbench import with_workbench
from server.use_cases import UseCases
from server.wire.trace_ids import trace_id_of

#: What the addresses of the contract's services begin with (Connect, gRPC-Web).
SERVICES_PATH = "/ide_orchestrator.v1."
#: For every answer: answers are data for their caller alone, never pages.
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-site",
    "Referrer-Policy": "no-referrer",
}


def create_http_app(
    use_cases: UseCases,
    probes: Probes,
    options: HttpOptions,
    *,
    throttle: RequestThrottle | None = None,
    services: ASGIApp | None = None,
) -> Litestar:
    """The interface. Its streams need the protocols of `server.http.server.uvicorn_config`.

    throttle: that of its requests, if others share it. services: what answers at the addresses of the
    contract's services.
    """
    throttle = throttle or RequestThrottle(use_cases.cut_offs)
    openapi_text, asyncapi_text = openapi_document(ROUTES), asyncapi_document()

    @get("/openapi.json", include_in_schema=False)
    async def openapi() -> JsonResponse[bytes]:
        """The description of the routes."""
        return JsonResponse(openapi_text)

    @get("/asyncapi.json", include_in_schema=False)
    async def asyncapi() -> JsonResponse[bytes]:
        """The description of the WebSocket."""
        return JsonResponse(asyncapi_text)

    @get("/api/ws/refinements/{thread_id:str}", include_in_schema=False)
    async def socket_only(thread_id: FromPath[str]) -> None:
        """Refuse a request that does not ask for an upgrade."""
        raise upgrade_required()

    refinement_socket = RefinementSocket(use_cases, throttle, options)

    @websocket("/api/ws/refinements/{thread_id:str}")
    async def follow(socket: WebSocket[Any, Any, Any], thread_id: FromPath[str]) -> None:
        """Follow a refinement. The handler itself authenticates and refuses, before the upgrade."""
        receive, send = socket.receive, socket.send
        # Both hold the socket: without a cycle, the request is freed as soon as its stream begins.
        del socket.receive, socket.send
        await refinement_socket.serve(thread_id, socket.scope, receive, send)

    routes = [*ROUTES, openapi, asyncapi, socket_only]
    if options.development is not None:
        routes += development_routes(options.development)
    app = Litestar(
        [*routes, follow],
        guards=[Authenticate(use_cases, throttle, query_token=options.query_token)],
        dependencies={
            "use_cases": Provide(lambda: use_cases, sync_to_thread=False),
            "probes": Provide(lambda: probes, sync_to_thread=False),
        },
        exception_handlers={Exception: partial(problem_response, dev=options.dev)},
        before_send=[partial(_complete_allow, allowed_methods(routes))],
        request_class=HubRequest,
        state=State({REFUSED_BYTES: use_cases.refused_bytes, INCOMING: use_cases.incoming}),
        response_class=JsonResponse,
        logging_config=None,
        openapi_config=None,
    )
    handler = _with_refused_upgrades(_with_room_given_back(app.asgi_handler))
    if services is not None:
        handler = _with_services(handler, services)
    if options.workbench:
        handler = with_workbench(handler)
    handler = with_cors(with_head(handler), options)
    app.asgi_handler = with_turns(_with_security_headers(handler))
    return app


def _with_services(app: ASGIApp, services: ASGIApp) -> ASGIApp:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        to_service = scope["type"] == ScopeType.HTTP and scope["path"].startswith(SERVICES_PATH)
        await (services if to_service else app)(scope, receive, send)

    return handle


def _with_room_given_back(app: ASGIApp) -> ASGIApp:
    """Give back the room for a request's body once the request is answered."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        finally:
            if scope["type"] == ScopeType.HTTP:
                give_back_room(scope)

    return handle


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


async def _complete_allow(allowed: Mapping[str, str], message: Message, scope: Scope) -> None:
    """Litestar's own answer to OPTIONS is incomplete: it has no HEAD, and not every handler of an address."""
    methods = allowed.get(str(scope.get("path_template")))
    if message["type"] == "http.response.start" and methods is not None:
        headers = MutableScopeHeaders.from_message(message)
        if "Allow" in headers:
            headers["Allow"] = methods


def _with_security_headers(app: ASGIApp) -> ASGIApp:
    """Add to every answer the headers that it does not set itself."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableScopeHeaders.from_message(message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await app(scope, receive, answer)

    return handle
