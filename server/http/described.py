"""The OpenAPI document (3.1): what each route takes and answers.

Routes read requests themselves (`server.wire.requests`), so what they take is said here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from litestar import Litestar
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import (
    Components,
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
    SecurityScheme,
)

from server.domain.access.sharing import AccessType
from server.domain.model import ProposalStatus
from server.http import models
from server.wire import requests
from server.wire.problems import MEDIA_TYPE
from server.wire.resources import dumps

_JSON = "application/json"


#: Text without U+0000; and with something beside white space, too.
_STORABLE = "^[^\\u0000]*$"
_UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_WORDS = "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$"


def _text(most: int, description: str, *, least: int = 0, pattern: str | None = None) -> Schema:
    return Schema(
        type=OpenAPIType.STRING,
        min_length=least or None,
        max_length=most,
        pattern=pattern,
        description=description,
    )


def _optional(schema: Schema) -> Schema:
    return Schema(one_of=[schema, Schema(type=OpenAPIType.NULL)])


def _number(most: int, default: int, description: str, *, least: int = 0) -> Schema:
    return Schema(
        type=OpenAPIType.INTEGER, minimum=least, maximum=most, default=default, description=description
    )


_START = Schema(
    type=OpenAPIType.OBJECT,
    required=["user_prompt"],
    additional_properties=False,
    properties={
        "user_prompt": _text(requests.MAX_PROMPT, "What the user asks for.", least=1, pattern=_WORDS),
        "context_file_path": _optional(
            _text(requests.MAX_PATH, "The file that the user looks at.", pattern=_STORABLE)
        ),
        "context_selection": _optional(
            _text(
                requests.MAX_SELECTION,
                "The lines selected in it: `lines 10-25` or `line 7`.",
                pattern="^(line [0-9]+|lines [0-9]+-[0-9]+)?$",
            )
        ),
    },
)
_WORKFLOW = Schema(
    type=OpenAPIType.OBJECT,
    required=["name"],
    additional_properties=False,
    properties={
        "name": _text(requests.MAX_NAME, "The workflow's name.", least=1, pattern=_WORDS),
        "agent_definition": _optional(
            Schema(type=OpenAPIType.OBJECT, description="For the runtime; left out: one that refines.")
        ),
        "files": _optional(
            Schema(
                type=OpenAPIType.OBJECT,
                max_properties=requests.MAX_FILES,
                property_names=Schema(pattern="^/[^\\u0000]*$", max_length=requests.MAX_PATH),
                additional_properties=Schema(type=OpenAPIType.STRING, pattern=_STORABLE),
                description="Path, starting with `/`, to text.",
            )
        ),
    },
)
_KEY = (
    Parameter(
        "Idempotency-Key",
        "header",
        schema=Schema(
            type=OpenAPIType.STRING,
            pattern="^[!-~]{1,255}$",
            description="Names the request: sent again, it starts nothing twice. Good for 24 hours.",
        ),
    ),
)
#: What page tokens look like: base64url of 25 bytes, the first of which names the list.
_PLACE = "^{}[A-Za-z0-9_-]{{31}}[AQgw]$"


def _page(list_byte: str) -> tuple[Parameter, ...]:
    return (
        Parameter(
            "limit",
            "query",
            schema=_number(requests.MAX_PAGE, requests.DEFAULT_PAGE, "Most items; 0 for the default."),
        ),
        Parameter(
            "cursor",
            "query",
            schema=Schema(
                type=OpenAPIType.STRING,
                pattern=_PLACE.format(list_byte),
                description="`next_cursor` of the page before; opaque.",
            ),
        ),
    )


_WORKFLOWS = _page("d[w-z0-9_-]")
_PROPOSALS = (
    *_page("c[A-P]"),
    Parameter(
        "workflow_id",
        "query",
        schema=Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.UUID, description="Only of this one."),
    ),
    Parameter(
        "status",
        "query",
        schema=Schema(type=OpenAPIType.STRING, enum=[status.value for status in ProposalStatus]),
    ),
)
_EVENTS = (
    Parameter("after", "query", schema=_number(requests.MAX_SEQ, 0, "The last seq that the caller has.")),
    Parameter(
        "limit",
        "query",
        schema=_number(requests.MAX_EVENTS, requests.DEFAULT_EVENTS, "Most events; 0 for the default."),
    ),
    Parameter(
        "wait",
        "query",
        schema=_number(requests.MAX_WAIT_S, 0, "Seconds to wait for the first event."),
    ),
    Parameter(
        "Last-Event-ID",
        "header",
        schema=_number(requests.MAX_SEQ, 0, "As `after`, for text/event-stream; the larger one counts."),
    ),
)

_PROBLEMS: dict[int, tuple[type[models.Problem], str]] = {
    400: (models.FieldProblem, "A field is missing or wrong; all are named"),
    401: (models.Problem, "No token, or not a valid one"),
    403: (models.Problem, "Not allowed"),
    404: (models.Problem, "There is none such, or it is not the caller's to see"),
    409: (models.Problem, "The state does not allow it, or the same request is being carried out"),
    410: (models.CursorProblem, "The cursor is outside the journal"),
    413: (models.Problem, "The body is too large"),
    422: (models.Problem, "Cannot be carried out (with `fields`), or the idempotency key is another's"),
    429: (
        models.Problem,
        "The caller does as much as it may at a time; try again later",
    ),
    500: (models.Problem, "A fault of the hub"),
    502: (models.Problem, "The runtime answered with an error"),
    503: (models.Problem, "The runtime or the database is away, or this replica is; try again later"),
}
_ALWAYS = (401, 500, 503)


@dataclass(frozen=True)
class Described:
    """What a route takes and answers, beside its path and method."""

    operation_id: str
    tag: str
    answers: dict[int, tuple[type | None, str]]
    problems: tuple[int, ...] = ()
    query: Sequence[Parameter] = ()
    body: Schema | None = None
    others: dict[int, ResponseSpec] = field(default_factory=dict)
    open: bool = False


CREATE_WORKFLOW = Described(
    "createWorkflow", "workflows", {201: (models.Workflow, "Made")}, (400, 413, 422, 429), body=_WORKFLOW
)
LIST_WORKFLOWS = Described(
    "listWorkflows", "workflows", {200: (models.WorkflowPage, "A page")}, (400,), query=_WORKFLOWS
)
GET_WORKFLOW = Described("getWorkflow", "workflows", {200: (models.Workflow, "The workflow")}, (404,))
START_REFINEMENT = Described(
    "startRefinement",
    "refinements",
    {
        202: (
            models.StartedRefinement,
            "Started; `Location` is the proposal's address. With "
            "`Idempotency-Replayed: true` by an earlier request with the same key, and answered as then",
        )
    },
    (400, 404, 409, 413, 422, 429, 502),
    body=_START,
    query=_KEY,
)
LIST_PROPOSALS = Described(
    "listProposals", "proposals", {200: (models.ProposalPage, "A page")}, (400,), query=_PROPOSALS
)
GET_PROPOSAL = Described("getProposal", "proposals", {200: (models.Proposal, "The proposal")}, (404,))
LIST_GRANTS = Described("listGrants", "access", {200: (models.Grants, "All of them")}, (403, 404))
GRANT_ACCESS = Described(
    "grantAccess",
    "access",
    {200: (models.Grant, "Granted")},
    (400, 403, 404, 409, 413),
    body=Schema(
        type=OpenAPIType.OBJECT,
        required=["access_type"],
        additional_properties=False,
        properties={
            "access_type": Schema(type=OpenAPIType.STRING, enum=[each.value for each in AccessType]),
        },
    ),
)
REVOKE_ACCESS = Described("revokeAccess", "access", {204: (None, "It has none now")}, (403, 404, 409))
LIST_SHARE_LINKS = Described(
    "listShareLinks", "access", {200: (models.ShareLinks, "All of them")}, (403, 404)
)
CREATE_SHARE_LINK = Described(
    "createShareLink",
    "access",
    {201: (models.ShareLink, "Made; its secret is told once")},
    (400, 403, 404, 409, 410, 413),
    body=Schema(
        type=OpenAPIType.OBJECT,
        additional_properties=False,
        properties={
            "after_seq": _optional(_number(requests.MAX_SEQ, 0, "Show the events behind this one only.")),
            "expires_in_s": _optional(
                _number(
                    requests.MAX_SHARE_S,
                    requests.DEFAULT_SHARE_S,
                    "Seconds for which it is good.",
                    least=requests.MIN_SHARE_S,
                )
            ),
        },
    ),
)
REVOKE_SHARE_LINK = Described("revokeShareLink", "access", {204: (None, "It shows nothing now")}, (403, 404))
GET_REFINEMENT = Described(
    "getRefinement", "refinements", {200: (models.Refinement, "The refinement")}, (404,)
)
CANCEL_REFINEMENT = Described(
    "cancelRefinement",
    "refinements",
    {200: (models.Refinement, "The run is over"), 202: (models.Refinement, "The run is about to end")},
    (403, 404, 413),
)
CREATE_TICKET = Described(
    "createTicket",
    "refinements",
    {201: (models.Ticket, "Made; it is told once")},
    (400, 404, 413),
    body=Schema(
        type=OpenAPIType.OBJECT,
        required=["thread_id"],
        additional_properties=False,
        properties={"thread_id": _text(requests.MAX_ID, "The refinement to follow.", pattern=_UUID)},
    ),
)
LIST_EVENTS = Described(
    "listEvents",
    "refinements",
    {
        200: (models.EventPage, "A page, or with `Accept: text/event-stream` every event until the last"),
    },
    (400, 404, 410, 429),
    query=_EVENTS,
    others={204: ResponseSpec(None, description="Nothing follows `Last-Event-ID`: do not come back")},
)
HEALTH = Described("getHealth", "health", {200: (models.Health, "The process lives")}, open=True)
READY = Described(
    "getReady",
    "health",
    {200: (models.Ready, "The replica can serve")},
    open=True,
    others={503: ResponseSpec(models.NotReady, media_type=MEDIA_TYPE, description="It cannot")},
)


def operation(described: Described) -> dict[str, Any]:
    """The arguments of a Litestar route decorator that say what the route takes and answers."""
    responses = {
        status: ResponseSpec(model, description=text, generate_examples=False)
        for status, (model, text) in described.answers.items()
    }
    problems = described.problems + (() if described.open else _ALWAYS)
    for status in sorted(problems):
        model, text = _PROBLEMS[status]
        responses[status] = ResponseSpec(model, description=text, media_type=MEDIA_TYPE)

    @dataclass
    class Said(Operation):
        """Litestar's way to say more than the handler's signature does."""

        def __post_init__(self) -> None:
            self.parameters = [*(self.parameters or []), *described.query] or None
            if described.body is not None:
                content = {_JSON: OpenAPIMediaType(schema=described.body)}
                self.request_body = RequestBody(content=content, required=True)
            assert self.responses is not None
            # Litestar adds a 400 of its own form, for path parameters, which are checked here otherwise.
            for status in self.responses.keys() - {str(each) for each in responses | described.others}:
                del self.responses[status]
            if described is LIST_EVENTS:
                stream = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
                self.responses["200"].content["text/event-stream"] = stream  # type: ignore[index,union-attr]

    return {
        "status_code": min(described.answers),
        "operation_id": described.operation_id,
        "operation_class": Said,
        "tags": [described.tag],
        "responses": responses | described.others,
        "security": [] if described.open else [{"bearer": []}],
    }


def openapi_document(routes: Sequence[Any]) -> bytes:
    """The document of the routes, as JSON.

    An application of its own makes it: Litestar serves the document of an application only together
    with pages of its own.
    """
    config = OpenAPIConfig(
        title="IDE Orchestrator",
        version="1",
        description="Refinements of workflows by an agent, followed live. WebSocket and gRPC have "
        "contracts of their own.",
        use_handler_docstrings=True,
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
        ),
    )
    app = Litestar(
        list(routes),
        openapi_config=config,
        dependencies={"services": Provide(lambda: None, sync_to_thread=False)},
        logging_config=None,
    )
    return dumps(app.openapi_schema.to_schema())
