"""What anyone may open in a browser: the address of the hub itself, and what each kind of problem means."""

from __future__ import annotations

from html import escape
from importlib.metadata import version

import msgspec
from google.rpc import code_pb2
from litestar import Response, get
from litestar.params import FromPath

from server.domain.errors import NotFound
from server.http.errors import HTTP_ONLY
from server.http.json_io import JsonResponse
from server.wire.addresses import problem_url
from server.wire.problems import INTERNAL, PROBLEMS

_LINKS = {
    "/openapi.json": "the HTTP interface (OpenAPI 3.1)",
    "/problems": "what the codes of errors mean",
    "/healthz": "whether the process is alive",
    "/readyz": "whether it can serve",
}


class ProblemType(msgspec.Struct):
    """What a problem's `code` means on each transport. `reconnect`: when to open a stream again after a close
    of `websocket_close`."""

    type: str
    title: str
    status: int
    code: str
    grpc_status: str | None = None
    websocket_close: int | None = None
    reconnect: str | None = None


def problem_types() -> dict[str, ProblemType]:
    """All kinds of problems, by code."""
    shared = {
        row.code: ProblemType(
            type=problem_url(row.code),
            title=row.title,
            status=row.http,
            code=row.code,
            grpc_status=code_pb2.Code.Name(row.grpc),
            websocket_close=row.close.code,
            reconnect=row.close.advice.value,
        )
        for row in (*PROBLEMS.values(), INTERNAL)
    }
    only = {
        code: ProblemType(problem_url(code), code.replace("_", " ").capitalize(), status, code)
        for code, status in HTTP_ONLY.items()
    }
    return shared | only


_TYPES = problem_types()
#: They change with the hub's version alone.
_CACHED = {"Cache-Control": "public, max-age=3600"}


@get("/problems", include_in_schema=False)
async def list_problem_types() -> JsonResponse[dict[str, list[ProblemType]]]:
    """All kinds of problems."""
    return JsonResponse({"items": list(_TYPES.values())}, headers=_CACHED)


@get("/problems/{code:str}", include_in_schema=False)
async def get_problem_type(code: FromPath[str]) -> JsonResponse[ProblemType]:
    """What a kind of problem means: the page that its `type` leads to."""
    found = _TYPES.get(code)
    if found is None:
        raise NotFound("there is no such kind of problem")
    return JsonResponse(found, headers=_CACHED)


@get("/", include_in_schema=False)
async def root() -> Response[str]:
    """A page for a person who opens the hub's address."""
    title = f"IDE Orchestrator {escape(version('ide-orchestrator'))}"
    items = "".join(f'<li><a href="{path}">{path}</a>: {text}</li>\n' for path, text in _LINKS.items())
    body = (
        f'<!doctype html>\n<html lang="en">\n<title>{title}</title>\n<h1>{title}</h1>\n'
        f"<p>The hub is running. Its clients call it below <code>/api/</code>.</p>\n<ul>\n{items}</ul>\n"
    )
    return Response(body, media_type="text/html")


PUBLIC_PAGES = [root, list_problem_types, get_problem_type]
