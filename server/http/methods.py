"""HTTP methods: what an address allows, and HEAD wherever GET is."""

from __future__ import annotations

from collections.abc import Iterable

from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

#: Key in `scope["extensions"]` of a HEAD request that is answered as a GET: a stream ends after its headers.
_HEAD_ONLY = "ideo.head"


def allowed_methods(routes: Iterable[HTTPRouteHandler]) -> dict[str, str]:
    """The methods of each address, as in the header `Allow`."""
    methods: dict[str, set[str]] = {}
    for each in routes:
        for path in each.paths:
            methods.setdefault(path.replace(":str}", "}"), {"OPTIONS"}).update(each.http_methods)
    return {path: allow(found) for path, found in methods.items()}


def allow(methods: Iterable[str]) -> str:
    """The header `Allow` of an address with handlers for these methods: HEAD is wherever GET is."""
    found = set(methods)
    return ", ".join(sorted(found | {"HEAD"} if "GET" in found else found))


def is_head(scope: Scope) -> bool:
    """Whether a request that is answered as a GET was a HEAD."""
    return _HEAD_ONLY in (scope.get("extensions") or {})


def with_head(app: ASGIApp) -> ASGIApp:
    """Answer HEAD as GET (RFC 9110 section 9.3.2). The server leaves the body out."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "HEAD":
            extensions = {**(scope.get("extensions") or {}), _HEAD_ONLY: {}}
            scope = {**scope, "method": "GET", "extensions": extensions}
        await app(scope, receive, send)

    return handle
