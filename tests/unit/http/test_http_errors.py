from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from litestar.exceptions import http_exceptions

from server.domain import errors
from server.http.errors import (
    error_response,
    method_not_allowed,
    not_ready,
    range_not_satisfiable,
    to_hub_error,
    upgrade_required,
)
from server.wire.problems import PROBLEMS
from server.wire.trace_ids import trace_id_of

LITESTAR = [
    error
    for _, error in inspect.getmembers(http_exceptions, inspect.isclass)
    if issubclass(error, http_exceptions.HTTPException) and error.__module__ == http_exceptions.__name__
]
TEXT = "hunter2 in the detail"
MEMBERS = {"type", "title", "status", "detail", "instance", "code", "trace_id", "error"}


def _made(kind: type[Exception]) -> Exception:
    if kind is http_exceptions.TemplateNotFoundException:
        return http_exceptions.TemplateNotFoundException(template_name=TEXT)
    return kind(detail=TEXT, extra=[{"message": TEXT}])  # type: ignore[call-arg]


def _answer(error: Exception) -> tuple[int, dict[str, str], dict[str, Any]]:
    status, headers, body = error_response(to_hub_error(error), instance="/api/x", trace_id="0" * 32)
    return status, headers, json.loads(body)


@pytest.mark.parametrize("kind", LITESTAR)
def test_every_error_of_litestar_is_a_problem_that_repeats_none_of_its_text(kind: type[Exception]) -> None:
    error = _made(kind)
    status, headers, problem = _answer(error)
    assert headers["Content-Type"] == "application/problem+json"
    assert problem.keys() >= MEMBERS
    assert problem["status"] == status
    assert 400 <= status < 600
    assert TEXT not in json.dumps(problem)
    expected = getattr(error, "status_code", 500)
    assert status == expected if expected in (404, 405, 413) else status in (400, 500)


def test_the_method_that_is_not_allowed_is_answered_with_those_that_are() -> None:
    error = http_exceptions.MethodNotAllowedException(headers={"allow": "GET, POST"})
    status, headers, problem = _answer(error)
    assert (status, problem["code"], headers["Allow"]) == (405, "method_not_allowed", "GET, HEAD, POST")


@pytest.mark.parametrize("kind", PROBLEMS)
def test_every_error_of_the_hub_has_the_status_of_the_table(kind: type[errors.HubError]) -> None:
    made: dict[type, errors.HubError] = {
        errors.InvalidArgument: errors.InvalidArgument({"a": "is wrong"}),
        errors.Unprocessable: errors.Unprocessable({"a": "is wrong"}),
        errors.DraftBusy: errors.DraftBusy(),
        errors.InputClosed: errors.InputClosed(),
        errors.ReplyUnsupported: errors.ReplyUnsupported(),
        errors.CursorOutOfRange: errors.CursorOutOfRange(9, 1, 4),
        errors.DraftMoved: errors.DraftMoved([], base_version=1, draft_version=2, draft_etag="2-e"),
        errors.RuntimeRefused: errors.RuntimeRefused("no", status=422),
        errors.KeysUnavailable: errors.KeysUnavailable(retry_after_s=7),
    }
    says_itself = not inspect.signature(kind).parameters
    error = made.get(kind) or (kind() if says_itself else kind("a sentence"))  # type: ignore[call-arg]
    status, headers, problem = _answer(error)
    assert status == PROBLEMS[kind].http == problem["status"]
    assert problem["code"] == PROBLEMS[kind].code
    if error.retry_after_s is not None:
        assert headers["Retry-After"] == str(error.retry_after_s)
    assert ("WWW-Authenticate" in headers) == (status == 401)


def test_a_fault_leaks_nothing() -> None:
    status, _, problem = _answer(RuntimeError(TEXT))
    assert (status, problem["code"]) == (500, "internal")
    assert TEXT not in json.dumps(problem)


def test_what_only_http_knows_has_the_members_of_every_problem() -> None:
    for error in (
        method_not_allowed("GET"),
        range_not_satisfiable(3),
        upgrade_required(),
        not_ready(["database"]),
    ):
        status, _, problem = _answer(error)
        assert problem.keys() >= MEMBERS
        assert problem["status"] == status
    assert problem["failing"] == ["database"]


@pytest.mark.parametrize("header", ["", "00-xyz-1-01", "00-" + "A" * 32 + "-" + "1" * 16 + "-01"])
def test_a_trace_is_the_callers_if_well_formed_and_else_new(header: str) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace_id_of({"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}) == trace
    made = trace_id_of({"traceparent": header})
    assert len(made) == 32
    assert made != trace
