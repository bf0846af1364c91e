"""The OpenAPI document (3.1). Litestar makes it from the handlers' types.

Two things are added to it here: the members of queries and headers, from the models that validate them, and
the constraints of request bodies, which Litestar's schemas lack.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from typing import Any
from uuid import UUID

import msgspec
from litestar import Litestar
from litestar.datastructures import ResponseHeader
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme

from server.http.dependencies import FromQuery
from server.http.errors import HTTP_ONLY
from server.http.json_io import HubRequest
from server.wire.conflicts import MergeConflict
from server.wire.problem_details import MEDIA_TYPE
from server.wire.problems import INTERNAL, PROBLEMS
from server.wire.text import dumps
from server.wire.validation import QueryModel, RequestModel


class Problem(msgspec.Struct):
    """Problem details (RFC 9457). `code` is stable; `error` is the status in a few words."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    trace_id: str
    error: str


class FieldProblem(Problem):
    """`fields` maps the name of each wrong field to what is wrong with it."""

    fields: dict[str, str]


class CursorProblem(Problem):
    """`floor` is the lowest seq that is kept, `last_seq` the highest."""

    floor: int
    last_seq: int


class MovedProblem(Problem):
    """For `draft_moved`: `conflicts` are the files that the draft and the proposal changed in different ways,
    the first of `conflict_count` that fit. `draft_etag` is that of the draft's newest version."""

    base_version: int | None = None
    draft_version: int | None = None
    draft_etag: str | None = None
    conflicts: list[MergeConflict] = []
    conflict_count: int | None = None


class StartProblem(Problem):
    """`proposal_id`: the proposal that a start has stored, if any."""

    proposal_id: UUID | None = None


class NotReady(Problem):
    """`failing` names the checks that fail."""

    failing: list[str]


_PROBLEMS: dict[int, tuple[type[Problem], str]] = {
    400: (FieldProblem, "A field is missing or wrong; `fields` names all of them"),
    401: (Problem, "No token, or not a valid one"),
    403: (Problem, "Not allowed"),
    404: (Problem, "Not found, or not visible to the caller"),
    409: (StartProblem, "The state does not allow it, or the same request is still being processed"),
    410: (CursorProblem, "The cursor is outside the journal"),
    412: (Problem, "What is written has changed since it was read"),
    413: (Problem, "The body is too large"),
    416: (Problem, "The range is outside the content"),
    422: (
        Problem,
        "Cannot be processed (`fields`), or the key was used for another request",
    ),
    428: (Problem, "The write needs `If-Match`, with the etag of what it changes"),
    429: (Problem, "A limit of this caller is reached; try again later"),
    500: (Problem, "Internal error"),
    502: (StartProblem, "The runtime refused the run"),
    503: (StartProblem, "The runtime, the database or this replica is not available; try again later"),
}
_ALWAYS = (401, 500, 503)
#: Every `code`: the one table's, and those that exist in HTTP alone.
_CODES = {INTERNAL.code, *(row.code for row in PROBLEMS.values()), *HTTP_ONLY}
#: Headers of refusals, with their schemas, by status.
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which the same request may succeed; absent if it cannot.",
        "schema": {"type": "integer", "minimum": 0},
    }
}
_PROBLEM_HEADERS: dict[str, dict[str, Any]] = {
    "401": {"WWW-Authenticate": {"description": "The scheme to use.", "schema": {"const": "Bearer"}}},
    **dict.fromkeys(("409", "429", "503"), _RETRY_AFTER),
}
#: Key in a route's `opt`: it also answers with server-sent events.
EVENT_STREAM = "event_stream"
#: The same for a patch.
PATCH_TEXT = "patch_text"


def problems(statuses: tuple[int, ...]) -> dict[int, ResponseSpec]:
    """What a route that needs a token may answer besides success."""
    return {
        status: ResponseSpec(model, description=text, media_type=MEDIA_TYPE, generate_examples=False)
        for status in sorted({*statuses, *_ALWAYS})
        for model, text in [_PROBLEMS[status]]
    }


def operation(operation_id: str, tag: str, statuses: tuple[int, ...], **others: Any) -> dict[str, Any]:
    """The arguments of a route's decorator that describe it. `statuses`: the statuses of its problems."""
    responses = problems(statuses) | others.pop("responses", {})
    security: list[dict[str, list[str]]] = [{"bearer": []}]
    return {
        "operation_id": operation_id,
        "tags": [tag],
        "responses": responses,
        "security": security,
        **others,
    }


def header(name: str, description: str) -> ResponseHeader:
    """A header of a route's answers, for the document."""
    return ResponseHeader(name=name, description=description, documentation_only=True)


@cache
def openapi_document(routes: tuple[HTTPRouteHandler, ...]) -> bytes:
    """The document of the routes, as JSON. Made once a process: it is slow.

    A separate application makes it: otherwise Litestar would also serve its own pages about it.
    """
    config = OpenAPIConfig(
        title="IDE Orchestrator",
        version=version("ide-orchestrator"),
        description="Refinements of workflows by an agent, followed live. WebSocket and gRPC have "
        "contracts of their own.",
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
                "ticket": SecurityScheme(type="apiKey", security_scheme_in="query", name="ticket"),
            }
        ),
    )
    names = ("use_cases", "probes")
    app = Litestar(
        list(routes),
        openapi_config=config,
        dependencies={name: Provide(lambda: None, sync_to_thread=False) for name in names},
        request_class=HubRequest,
        logging_config=None,
    )
    document = app.openapi_schema.to_schema()
    operations = {
        operation["operationId"]: operation
        for path in document["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict)
    }
    for handler in routes:
        if handler.operation_id in operations:
            _complete(operations[handler.operation_id], handler)
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        if "trace_id" in schema.get("properties", {}):
            schema["properties"]["code"] = {"$ref": "#/components/schemas/ProblemCode"}
    schemas["ProblemCode"] = {"type": "string", "enum": sorted(_CODES)}
    schemas.update(_body_schemas(routes))
    return dumps(document)


def _complete(operation: dict[str, Any], handler: HTTPRouteHandler) -> None:
    declared = {str(status) for status in handler.responses or {}}
    for status in list(operation["responses"]):
        # Litestar adds a 400 in its own format to every route with parameters.
        if status == "400" and status not in declared:
            del operation["responses"][status]
    for status, answer in operation["responses"].items():
        answer.setdefault("headers", {}).update(_headers(status, handler))
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])
    if handler.opt.get(EVENT_STREAM):
        operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
        operation["security"] = [*operation["security"], {"ticket": []}]
    if handler.opt.get(PATCH_TEXT):
        operation["responses"]["200"]["content"]["text/x-patch"] = {"schema": {"type": "string"}}
    params = (handler.dependencies or {}).get("params")
    if isinstance(params, Provide) and isinstance(params.dependency, FromQuery):
        operation.setdefault("parameters", []).extend(_parameters(params.dependency.model))


def _headers(status: str, handler: HTTPRouteHandler) -> dict[str, Any]:
    """The headers of an answer. Litestar has those of a success only where it describes the answer itself."""
    if not status.startswith("2"):
        return _PROBLEM_HEADERS.get(status, {})
    return {
        each.name: {"description": each.description, "schema": {"type": "string"}}
        for each in handler.response_headers or ()
    }


def _parameters(model: type[QueryModel]) -> Iterator[dict[str, Any]]:
    schema = model.model_json_schema()
    for name, member in schema["properties"].items():
        found = _without_null(member)
        reference = found.pop("$ref", None)
        if reference is not None:
            found |= schema["$defs"][reference.rpartition("/")[2]]
        if found.get("default", ...) is None:
            del found["default"]
        required = name in schema.get("required", ())
        yield {"name": name, "in": "query", "required": required, "schema": _untitled(found)}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without `null`: an optional parameter is left out, never null."""
    found: dict[str, Any] = {}
    for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if each != {"type": "null"}:
            found |= each
    return found | {name: value for name, value in schema.items() if name not in ("anyOf", "oneOf")}


def _body_schemas(routes: Iterable[HTTPRouteHandler]) -> Iterator[tuple[str, dict[str, Any]]]:
    for handler in routes:
        body = handler.parsed_fn_signature.parameters.get("data")
        if body is not None and issubclass(body.annotation, RequestModel):
            schema = body.annotation.model_json_schema(ref_template="#/components/schemas/{model}")
            yield from schema.pop("$defs", {}).items()
            yield body.annotation.__name__, _untitled(schema)


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without pydantic's titles, which repeat the names."""
    properties = {name: _untitled(each) for name, each in schema.get("properties", {}).items()}
    kept = {name: value for name, value in schema.items() if name not in ("title", "properties")}
    return kept | ({"properties": properties} if properties else {})
