"""The runtime's own reason for a refusal, from whatever body its answer has."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.runtime.refusals import MAX_REASON_CHARS, refusal_reason

VALIDATION = [
    {"type": "missing", "loc": ["body", "job_id"], "msg": "Field required", "input": {"prompt": "secret"}},
    {"type": "x", "loc": ["body", "files", 3], "msg": "Too long", "input": "secret", "ctx": {"a": "secret"}},
]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"detail": "no credits are left"}, "no credits are left"),
        ({"detail": VALIDATION}, "body.job_id: Field required; body.files.3: Too long"),
        ({"detail": {"message": "busy", "code": 7}}, "busy"),
        ({"error": "bad"}, "bad"),
        ({"error": {"message": "bad", "type": "t"}}, "bad"),
        ({"error": {"type": "t"}, "message": "second"}, "second"),
        ({"title": "Conflict", "status": 409, "detail": "it runs already"}, "it runs already"),
        ({"errors": [{"message": "one"}, {"message": "two"}]}, "one; two"),
        ({"detail": ""}, ""),
        ({"detail": None, "message": "m"}, "m"),
        ("a string", "a string"),
        (["a", "b"], "a; b"),
        # What is not meant for people may be what was sent.
        ({"agent_definition": {"user_request": "secret"}, "job_id": "x"}, ""),
        ({"detail": 7}, ""),
        (7, ""),
        ({}, ""),
        ([], ""),
    ],
)
def test_json_gives_its_member_for_people(body: Any, reason: str) -> None:
    assert refusal_reason(json.dumps(body).encode(), "application/json") == reason
    # Some servers name no type.
    assert refusal_reason(json.dumps(body).encode(), "") == reason


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"upstream is busy\r\n", "text/plain", "upstream is busy"),
        ("über\u00a0alle".encode(), "", "über alle"),
        (b"", "text/plain", ""),
        (b"<html><body>502 Bad Gateway</body></html>", "text/html; charset=utf-8", ""),
        (b"  <!doctype html>", "text/plain", ""),
        (b"Bad Gateway", "text/HTML", ""),
        (b'{"detail": "cut', "application/json", ""),
        (b"\xff\xfe\x00binary", "text/plain", ""),
    ],
)
def test_a_text_is_the_reason_and_a_page_is_not(body: bytes, content_type: str, reason: str) -> None:
    assert refusal_reason(body, content_type) == reason


def test_what_could_steer_a_terminal_or_reorder_the_text_is_removed() -> None:
    hostile = "a\x1b[31mb\x07\r\n\tc\u202ed\u2066e\u2028f\x00g\x9bh\ud800i"
    assert refusal_reason(json.dumps({"detail": hostile}).encode(), "") == "a [31mb c d e f g h i"


def test_it_is_bounded() -> None:
    reason = refusal_reason(json.dumps({"detail": "x" * 5000}).encode(), "")
    assert reason == "x" * (MAX_REASON_CHARS - 1) + "…"
    assert refusal_reason(b"x" * (1 << 20), "text/plain") == ""
    deep = b'{"detail":' * 5000 + b'"x"' + b"}" * 5000
    assert refusal_reason(deep, "") == ""
    many = json.dumps({"errors": [{"message": "m" * 100}] * 500}).encode()
    assert len(refusal_reason(many, "")) <= MAX_REASON_CHARS


def test_secrets_of_the_hub_are_replaced() -> None:
    body = json.dumps({"detail": "no user for Basic dTpw and password p-w"}).encode()
    assert refusal_reason(body, "", ["p-w", "dTpw"]) == "no user for Basic *** and password ***"


@given(st.one_of(st.binary(max_size=2000), st.text(max_size=2000).map(str.encode)), st.text(max_size=20))
def test_any_body_gives_a_short_printable_text(body: bytes, content_type: str) -> None:
    reason = refusal_reason(body, content_type)
    assert len(reason) <= MAX_REASON_CHARS
    assert reason.isprintable()
    reason.encode()


def test_it_takes_no_long_time() -> None:
    began = time.process_time()
    refusal_reason(json.dumps([[["\x00" * 4000] * 5] * 5] * 5)[: 60 << 10].encode(), "")
    refusal_reason(b"\xe2\x80\x8b" * 20_000, "text/plain")
    assert time.process_time() - began < 1
