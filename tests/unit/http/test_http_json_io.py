from __future__ import annotations

import pytest
from litestar.datastructures import Headers

from server.domain.errors import InvalidArgument
from server.http.json_io import parse_json, prefers_to_json

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "is missing"),
        (b"{", "line 1, column 2"),
        (b'{"a": 1,\n "hunter2": }', "line 2, column 13"),
        (b"hunter2", "line 1, column 1"),
        (b'{"a": "hunter2', "line 1, column 7"),
        (b'{"a": "\xffhunter2"}', "byte 7"),
        (b'{"a": NaN, "b": "hunter2"}', "finite"),
        (b'{"a": -Infinity}', "finite"),
        (b"[" * 100_000, "nested"),
        (b'{"a": ' + b"9" * 5000 + b"}", "number"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b"\xef\xbb\xbf{}", "line 1, column 1"),
    ],
)
def test_invalid_json_is_refused_with_its_place_and_without_its_content(raw: bytes, says: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_json(raw)
    assert says in caught.value.fields["body"]
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_lone_surrogates_are_read() -> None:
    assert parse_json(b'{"a": "\\ud800"}') == {"a": "\ud800"}


@pytest.mark.parametrize(
    ("accept", "prefers"),
    [
        ("text/html", True),
        ("text/html,application/json;q=0.9", True),
        ("*/*", False),
        ("application/json", False),
        ("text/html;q=inf", False),
        ("text/html;q=nan", True),
        ("text/html," + "a/b;q=0.1," * 3_000, False),
    ],
)
def test_any_accept_header_has_an_answer(accept: str, prefers: bool) -> None:
    assert prefers_to_json(Headers({"accept": accept}), "text/html") is prefers
