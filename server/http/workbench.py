"""The workbench: the page at the hub's address. It is built from `workbench/` into `server/workbench/`."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from server.http.connection import ClientGone, Pace, SlowReader, connection_of
from server.http.errors import log
from server.http.methods import is_head
from server.http.response_body import send_pieces

FOLDER = Path(__file__).resolve().parent.parent / "workbench"
#: What the addresses of the page's files begin with.
FILES_PATH = "/workbench/"
#: Everything comes from the hub, and no other site may show the page in a frame. `connect-src 'self'` covers
#: WebSockets to the hub (CSP 3).
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = {"content-security-policy": _POLICY, "cross-origin-opener-policy": "same-origin"}
#: The name of a file has a hash of its content.
_KEPT = {"cache-control": "public, max-age=31536000, immutable"}
#: A weight of a header, from 0 to 1.
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the page. compressed: the content for clients that take gzip."""

    content: bytes
    compressed: bytes
    headers: dict[str, str]


def _read(path: Path, headers: dict[str, str]) -> _File:
    content = path.read_bytes()
    described = {"content-type": _TYPES[path.suffix], "vary": "Accept-Encoding", **headers}
    return _File(content, gzip.compress(content, mtime=0), described)


def with_workbench(app: ASGIApp, folder: Path = FOLDER) -> ASGIApp:
    """Answer `GET /` and the addresses of the page's files; everything else goes to the application.

    Raises FileNotFoundError without a page in the folder.
    """
    files = {
        FILES_PATH + path.name: _read(path, _KEPT)
        for path in folder.iterdir()
        if path.suffix in (".js", ".css")
    }
    files["/"] = _read(folder / "index.html", _PAGE)

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        is_get = scope["type"] == ScopeType.HTTP and scope["method"] == "GET"
        found = files.get(scope["path"]) if is_get else None
        if found is None:
            await app(scope, receive, send)
        else:
            await _send_file(found, scope, send)

    return handle


async def _send_file(file: _File, scope: Scope, send: Send) -> None:
    body, headers = file.content, dict(file.headers)
    if takes_gzip(", ".join(Headers.from_scope(scope).getall("accept-encoding", []))):
        body = file.compressed
        headers["content-encoding"] = "gzip"
    headers["content-length"] = str(len(body))
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    connection = connection_of(scope)  # type: ignore[arg-type]
    try:
        await send({"type": "http.response.start", "status": 200, "headers": encoded})
        if not is_head(scope):
            await send_pieces(body, send, connection, Pace(connection))
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    except SlowReader:
        log.info("slow_reader")
        connection.abort()
    except (ClientGone, OSError):
        connection.abort()


def takes_gzip(accepted: str) -> bool:
    """Whether a header `Accept-Encoding` allows gzip (RFC 9110, 12.5.3). A weight that is not a number
    allows nothing: the file as it is suits everybody."""
    allowed: dict[str, bool] = {}
    for part in accepted.lower().split(","):
        coding, *parameters = (each.strip() for each in part.split(";"))
        weights = [value for name, _, value in (each.partition("=") for each in parameters) if name == "q"]
        allowed[coding] = all(_WEIGHT.fullmatch(weight) and float(weight) > 0 for weight in weights)
    return allowed.get("gzip", allowed.get("x-gzip", allowed.get("*", False)))
