"""Problems in the OpenAPI document: their schemas, and which of them a status means."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar.openapi import ResponseSpec

from server.http.errors import HTTP_ONLY
from server.wire.conflicts import MergeConflict
from server.wire.problem_details import MEDIA_TYPE
from server.wire.problems import ROWS


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
CODES = {*(row.code for row in ROWS), *HTTP_ONLY}
#: Headers of refusals, with their schemas, by status.
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which the same request may succeed; absent if it cannot.",
        "schema": {"type": "integer", "minimum": 0},
    }
}
PROBLEM_HEADERS: dict[str, dict[str, Any]] = {
    "416": {
        "Content-Range": {"description": "How many bytes the content has.", "schema": {"type": "string"}}
    },
    "401": {"WWW-Authenticate": {"description": "The scheme to use.", "schema": {"const": "Bearer"}}},
    **dict.fromkeys(("409", "429", "503"), _RETRY_AFTER),
}


def problems(statuses: tuple[int, ...]) -> dict[int, ResponseSpec]:
    """What a route that needs a token may answer besides success."""
    return {
        status: ResponseSpec(model, description=text, media_type=MEDIA_TYPE, generate_examples=False)
        for status in sorted({*statuses, *_ALWAYS})
        for model, text in [_PROBLEMS[status]]
    }
