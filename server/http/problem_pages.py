"""What each kind of problem means: the addresses that the `type` of a problem leads to, open to anyone.

A browser gets a page, everyone else JSON.
"""

from __future__ import annotations

from html import escape
from http import HTTPStatus
from typing import Any

import msgspec
from google.rpc import code_pb2
from litestar import Response, get
from litestar.openapi import ResponseSpec
from litestar.params import FromPath

from server.domain.errors import NotFound
from server.http.errors import HTTP_ONLY
from server.http.html import html_page
from server.http.json_io import HubRequest, JsonResponse, prefers_to_json
from server.http.openapi import HTML, header
from server.http.openapi_problems import problems
from server.wire.addresses import problem_url
from server.wire.generated_json import problem_meanings
from server.wire.problems import ROWS


class ProblemType(msgspec.Struct):
    """What a problem's `code` means on each transport. `reconnect`: when to open a stream again after a close
    of `websocket_close`."""

    type: str
    title: str
    status: int
    code: str
    meaning: str
    grpc_status: str | None = None
    websocket_close: int | None = None
    reconnect: str | None = None


class ProblemTypes(msgspec.Struct):
    """All kinds of problems."""

    items: list[ProblemType]


def problem_types() -> dict[str, ProblemType]:
    """All kinds of problems, by code."""
    shared = {
        row.code: ProblemType(
            type=problem_url(row.code),
            title=row.title,
            status=row.http,
            code=row.code,
            meaning=problem_meanings()[row.code],
            grpc_status=code_pb2.Code.Name(row.grpc),
            websocket_close=row.close.code,
            reconnect=row.close.advice.value,
        )
        for row in ROWS
    }
    http_only = {
        code: ProblemType(
            type=problem_url(code),
            title=HTTPStatus(problem.status).phrase,
            status=problem.status,
            code=code,
            meaning=problem.meaning,
        )
        for code, problem in HTTP_ONLY.items()
    }
    return shared | http_only


_TYPES = problem_types()
#: They change with the hub's version alone.
_CACHED = {"Cache-Control": "public, max-age=3600", "Vary": "Accept"}


def _described(operation_id: str, model: type[msgspec.Struct], *statuses: int) -> dict[str, Any]:
    """The arguments of a route's decorator that describe it."""
    answer = ResponseSpec(
        model, description="JSON, or a page for `Accept: text/html`", generate_examples=False
    )
    refusals = problems(statuses)
    return {
        "operation_id": operation_id,
        "tags": ["problems"],
        "response_headers": [header("Cache-Control", "`public`: the answer may be kept for an hour.")],
        "responses": {200: answer, **{status: refusals[status] for status in statuses}},
        "opt": {HTML: True},
    }


@get("/problems", **_described("listProblemTypes", ProblemTypes))
async def list_problem_types(request: HubRequest) -> Response[Any]:
    """All kinds of problems."""
    if prefers_to_json(request.headers, "text/html"):
        items = "".join(
            f'<li><a href="/problems/{kind.code}"><code>{kind.code}</code></a>: {escape(kind.title)}</li>\n'
            for kind in _TYPES.values()
        )
        return html_page("Problems", f"<ul>\n{items}</ul>", headers=_CACHED)
    return JsonResponse(ProblemTypes(list(_TYPES.values())), headers=_CACHED)


@get("/problems/{code:str}", **_described("getProblemType", ProblemType, 404))
async def get_problem_type(request: HubRequest, code: FromPath[str]) -> Response[Any]:
    """What a kind of problem means: the page that its `type` leads to."""
    found = _TYPES.get(code)
    if found is None:
        raise NotFound("there is no such kind of problem")
    if prefers_to_json(request.headers, "text/html"):
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>\n"
            for name, value in msgspec.structs.asdict(found).items()
            if value is not None and name not in ("title", "meaning")
        )
        body = f"<p>{escape(found.meaning)}</p>\n<table>\n{rows}</table>"
        return html_page(found.title, body, headers=_CACHED)
    return JsonResponse(found, headers=_CACHED)


PROBLEM_PAGES = [list_problem_types, get_problem_type]
