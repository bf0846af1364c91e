"""The client's errors beside the hub's one table of problems."""

from __future__ import annotations

import pytest

from ide_orchestrator.client import Changed, NotAuthenticated, Refused, Unavailable, Uncertain
from ide_orchestrator.client.errors import CLASSES
from ide_orchestrator.client.responses import problem_of
from server.http.errors import HTTP_ONLY
from server.wire.problems import INTERNAL, PROBLEMS, ReconnectAdvice

ROWS = {row.code: row for row in (*PROBLEMS.values(), INTERNAL)}


def test_every_code_of_the_hub_has_a_class_and_no_other() -> None:
    assert CLASSES.keys() == ROWS.keys() | HTTP_ONLY.keys()


def test_a_class_gives_the_advice_of_the_table() -> None:
    for code, row in ROWS.items():
        advice = row.close.advice
        assert (CLASSES[code] is NotAuthenticated) == (advice is ReconnectAdvice.NEW_TOKEN), code
        if advice is ReconnectAdvice.NEW_CURSOR:
            assert CLASSES[code] is Changed, code
        if row.http in (408, 429) or (row.http == 503 and code != "invoke_uncertain"):
            assert CLASSES[code] is Unavailable, code
        if CLASSES[code] is Unavailable:
            assert row.close.resumable, code
    assert CLASSES["invoke_uncertain"] is Uncertain


@pytest.mark.parametrize("code", ["conflict", "a_code_of_a_newer_hub"])
def test_a_refusal_with_a_time_to_wait_is_temporary(code: str) -> None:
    body = f'{{"code": "{code}", "detail": "still being processed"}}'.encode()
    assert type(problem_of(409, {}, body, "http://hub")) is Refused
    later = problem_of(409, {"retry-after": "2"}, body, "http://hub")
    assert (type(later), later.retry_after_s) == (Unavailable, 2)


@pytest.mark.parametrize(
    ("status", "kind"), [(502, Unavailable), (504, Unavailable), (401, NotAuthenticated), (404, Refused)]
)
def test_a_proxys_answer_counts_by_its_status(status: int, kind: type[Exception]) -> None:
    error = problem_of(status, {}, b"<html>", "http://hub")
    assert type(error) is kind
    assert f"HTTP {status}" in str(error)
