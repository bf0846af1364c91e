"""The runtime's own reason for a refusal, from whatever body its answer has."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.runtime.refusals import CUT_BODY_BYTES, MAX_BODY_BYTES, MAX_REASON_CHARS, refusal_reason

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
    deep = b'{"detail":' * 5000 + b'"x"' + b"}" * 5000
    assert refusal_reason(deep, "") == ""
    many = json.dumps({"errors": [{"message": "m" * 100}] * 500}).encode()
    assert len(refusal_reason(many, "")) <= MAX_REASON_CHARS


#: As long as a body that is read whole, and longer.
LENGTHS = [MAX_REASON_CHARS, 100_000, 1_200_000, 5_000_000]
CUT = "x" * (MAX_REASON_CHARS - 1) + "…"


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '"{}"',
        '{{"detail": "{}"}}',
        '{{"code": 7, "a": [1, {{"b": []}}], "detail": {{"message": "{}", "x": 1}}}}',
        '{{"detail": [{{"type": "t", "loc": ["body", 3], "msg": "{}", "input": {{}}}}]}}',
        '{{"errors": ["{}", "y"]}}',
    ],
)
def test_a_reason_of_any_length_is_cut_and_not_dropped(body: str, length: int) -> None:
    reason = refusal_reason(body.format("x" * length).encode(), "").removeprefix("body.3: ")
    assert reason[: MAX_REASON_CHARS - 10] == CUT[: MAX_REASON_CHARS - 10]
    assert len(reason) <= MAX_REASON_CHARS


@pytest.mark.parametrize("length", LENGTHS)
def test_what_comes_behind_the_reason_does_not_hide_it(length: int) -> None:
    for behind in (
        "y" * length,
        ["y"] * (length // 5),
        {"m" * 9: {"n" * length: 1}},
        "\u00e9\n" * (length // 8),
    ):
        body = json.dumps({"detail": "no credits", "input": behind}).encode()
        assert refusal_reason(body, "application/json") == "no credits"
        # Wherever it is cut: in a name, a value, an escape or a character.
        for end in range(MAX_BODY_BYTES + 1, min(len(body), MAX_BODY_BYTES + 20)):
            assert refusal_reason(body[:end], "") == "no credits"
    page = b"<html>" + b"x" * length
    assert refusal_reason(page, "text/html") == refusal_reason(page, "") == ""


@given(st.integers(0, 12), st.sampled_from(["é", "\U0001f600", "\x1b[2J", "\u202e", "\ud83d"]))
def test_a_long_reason_is_safe_for_a_terminal_wherever_it_is_cut(shift: int, character: str) -> None:
    text = "x" * (CUT_BODY_BYTES - 6 - shift) + character * 400_000
    for body in (json.dumps({"d": 1, "detail": text}), text.encode(errors="replace").decode()):
        reason = refusal_reason(body.encode(), "")
        assert reason == CUT
    reason = refusal_reason((character * 600_000).encode(errors="replace"), "text/plain")
    assert len(reason) <= MAX_REASON_CHARS
    assert reason.isprintable()


def test_a_secret_that_is_cut_is_not_shown() -> None:
    secret = "kingfisher"
    for length in range(1, len(secret) + 1):
        head = '{"error": "' + "y" * (CUT_BODY_BYTES - 40) + '", "detail": "a '
        body = head + "z" * (CUT_BODY_BYTES - len(head) - length) + secret * 200_000
        assert "k" not in refusal_reason(body.encode(), "", [secret])


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
    began = time.thread_time()
    refusal_reason(json.dumps([[["\x00" * 4000] * 5] * 5] * 5)[: 60 << 10].encode(), "")
    refusal_reason(b"\xe2\x80\x8b" * 20_000, "text/plain")
    for hostile in (b"[", b"{", b'"', b'"\\', b"[1,", b'{"a":', b"\\", b"},"):
        refusal_reason(hostile * (MAX_BODY_BYTES // len(hostile) + 1), "")
    assert time.thread_time() - began < 1
