"""The OpenAPI document (3.1). Litestar makes it from the handlers' types.

Three things are added to it here: the members of queries and headers, from the models that validate them; the
constraints of request bodies, which Litestar's schemas lack; and the schemas of events, from the contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from typing import Any

from litestar import Litestar
from litestar.datastructures import ResponseHeader
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from server.http.dependencies import FromQuery
from server.http.json_io import HubRequest
from server.http.openapi_problems import CODES, PROBLEM_HEADERS, problems
from server.wire.generated_json import event_schemas
from server.wire.text import dumps
from server.wire.validation import QueryModel, RequestModel

#: Key in a route's `opt`: it also answers with server-sent events.
EVENT_STREAM = "event_stream"
_EVENT_STREAM = {
    "type": "string",
    "description": "Server-sent events. The `data` of `hello` is the JSON of the schema `Hello`, that of "
    "`heartbeat` of `Heartbeat`, that of `reconnect` of `Reconnect`, and that of all others of `Event`. With "
    "`names=false` it is that of `Event` or of `WatchRefinementResponse`.",
}
#: The same for a page for people.
HTML = "html"
#: The same for a patch.
PATCH_TEXT = "patch_text"


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
        description="Refinements of workflows by an agent, followed live. `/asyncapi.json` describes the "
        "WebSocket; gRPC has a contract of its own.",
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
    schemas["ProblemCode"] = {"type": "string", "enum": sorted(CODES)}
    _add(schemas, _body_schemas(routes))
    schemas["EventPage"]["properties"]["items"]["items"] = {"$ref": "#/components/schemas/Event"}
    _add(schemas, event_schemas().items())
    return dumps(document)


def _complete(operation: dict[str, Any], handler: HTTPRouteHandler) -> None:
    declared = {str(status) for status in handler.responses or {}}
    for status in list(operation["responses"]):
        # Litestar adds a 400 in its own format to every route with parameters.
        if status == "400" and status not in declared:
            del operation["responses"][status]
    for status, answer in operation["responses"].items():
        # Litestar's are in no fixed order.
        headers = answer.pop("headers", {}) | _headers(status, handler)
        if headers:
            answer["headers"] = dict(sorted(headers.items()))
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])
    if handler.opt.get(EVENT_STREAM):
        operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": _EVENT_STREAM}
        operation["security"] = [*operation["security"], {"ticket": []}]
    if handler.opt.get(HTML):
        operation["responses"]["200"]["content"]["text/html"] = {"schema": {"type": "string"}}
    if handler.opt.get(PATCH_TEXT):
        operation["responses"]["200"]["content"]["text/x-patch"] = {"schema": {"type": "string"}}
    params = (handler.dependencies or {}).get("params")
    if isinstance(params, Provide) and isinstance(params.dependency, FromQuery):
        operation.setdefault("parameters", []).extend(_parameters(params.dependency.model))


def _headers(status: str, handler: HTTPRouteHandler) -> dict[str, Any]:
    """The headers of an answer. Litestar has those of a success only where it describes the answer itself."""
    if status.startswith(("4", "5")):
        return PROBLEM_HEADERS.get(status, {})
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
        yield {"name": name, "in": "query", "required": required, "schema": untitled(found)}


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
            yield body.annotation.__name__, untitled(schema)


def _add(schemas: dict[str, Any], others: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Add schemas by name. Raises ValueError for a name that another kind of value has: one would be lost."""
    for name, schema in others:
        if schemas.get(name, schema).get("type") != schema.get("type"):
            raise ValueError(f"two schemas of the OpenAPI document are called {name}")
        schemas[name] = schema


def untitled(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without pydantic's titles, which repeat the names."""
    properties = {name: untitled(each) for name, each in schema.get("properties", {}).items()}
    kept = {name: value for name, value in schema.items() if name not in ("title", "properties")}
    return kept | ({"properties": properties} if properties else {})
