"""Cross-origin calls: preflights, and the headers that let a page read the answers (Fetch standard).

A page of an allowed origin may send every header: libraries add their own to the hub's (event source
polyfills, tracing, error reports), and no header gives a page more than its token does.
"""

from __future__ import annotations

import re

from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from server.domain.errors import HubError, PermissionDenied
from server.http.errors import HttpError, error_response, method_not_allowed
from server.http.options import HttpOptions
from server.wire.trace_ids import trace_id_of

_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
#: Headers that are allowed also when a preflight does not ask for them, so that caches of preflights fit.
_REQUEST_HEADERS = frozenset(
    {
        "accept",
        "accept-language",
        "authorization",
        "baggage",
        "cache-control",
        "connect-protocol-version",
        "connect-timeout-ms",
        "content-language",
        "content-type",
        "grpc-timeout",
        "idempotency-key",
        "if-match",
        "if-none-match",
        "last-event-id",
        "origin",
        "pragma",
        "range",
        "traceparent",
        "tracestate",
        "x-grpc-web",
        "x-requested-with",
        "x-user-agent",
    }
)
#: Headers that a page may read.
_EXPOSED = (
    "Accept-Ranges",
    "Allow",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Idempotency-Replayed",
    "Left-Out-Files",
    "Link",
    "Location",
    "Retry-After",
    "Stream-Closed",
    "Stream-Cursor",
    "Stream-Next-Offset",
    "Stream-Up-To-Date",
    "WWW-Authenticate",
)
ORIGIN_REFUSED = "this origin is not allowed: IDEO_ALLOWED_ORIGINS lists those that are"
_MAX_AGE_S = 12 * 3600
_MAX_REQUESTED = 100
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
#: A preflight's answer depends on what it asks for.
_PREFLIGHT_VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


def with_cors(app: ASGIApp, options: HttpOptions) -> ASGIApp:
    """Answer preflights, and add the headers to all other answers."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        headers = Headers.from_scope(scope)
        origins = headers.getall("origin", [])
        if scope["method"] == "OPTIONS" and origins and "access-control-request-method" in headers:
            await _answer_preflight(scope, send, headers, options)
            return
        allowed = len(origins) == 1 and options.origins.allow(origins[0])

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableScopeHeaders.from_message(message)
                answered.extend_header_value("Vary", "Origin")
                if allowed:
                    answered["Access-Control-Allow-Origin"] = origins[0]
                    answered["Access-Control-Allow-Credentials"] = "true"
                    answered["Access-Control-Expose-Headers"] = ", ".join(_EXPOSED)
            await send(message)

        await app(scope, receive, answer)

    return handle


async def _answer_preflight(scope: Scope, send: Send, headers: Headers, options: HttpOptions) -> None:
    trace_id = trace_id_of(headers)
    try:
        status, answered, body = 204, _preflight_headers(headers, options, trace_id), b""
    except (HubError, HttpError) as error:
        status, answered, body = error_response(error, instance=scope["path"], trace_id=trace_id)
        answered["Content-Length"] = str(len(body))
    answered["Vary"] = _PREFLIGHT_VARY
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in answered.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _preflight_headers(headers: Headers, options: HttpOptions, trace_id: str) -> dict[str, str]:
    """The headers that allow what a preflight asks for. Raises PermissionDenied, HttpError."""
    origins = headers.getall("origin", [])
    if not options.origins.allow_request(origins):
        options.origin_log.refused(trace_id=trace_id, dev=options.dev)
        raise PermissionDenied(ORIGIN_REFUSED)
    if headers.get("access-control-request-method") not in _METHODS:
        raise method_not_allowed(", ".join(_METHODS))
    requested = requested_headers(headers.getall("access-control-request-headers", []))
    return {
        "Access-Control-Allow-Origin": origins[0],
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": ", ".join(_METHODS),
        "Access-Control-Allow-Headers": ", ".join(sorted(_REQUEST_HEADERS | requested)),
        "Access-Control-Max-Age": str(_MAX_AGE_S),
    }


def requested_headers(values: list[str]) -> frozenset[str]:
    """The names of `Access-Control-Request-Headers`. Raises PermissionDenied when they are malformed or too
    many."""
    names = {name.strip().lower() for value in values for name in value.split(",")} - {""}
    if len(names) > _MAX_REQUESTED or not all(_TOKEN.fullmatch(name) for name in names):
        raise PermissionDenied("the requested headers are malformed, or too many")
    return frozenset(names)
