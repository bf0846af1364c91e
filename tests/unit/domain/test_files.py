"""Files: the runtime's forms in, the legacy form out."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.proposals.files import File, NotAFile, parse_file

TEXT = st.text(st.characters(), max_size=20)
TIME = st.none() | TEXT


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("a\r\n", b"a\r\n"),
        ({"content": ["a", ""]}, b"a\n"),
        ({"content": ["a\r", "b"]}, b"a\r\nb"),
        ({"content": [""]}, b""),
        ({"content": []}, b""),
        ({"content": "a\n", "encoding": "utf-8"}, b"a\n"),
        ({"content": "caf\u00e9"}, "caf\u00e9".encode()),
        ({"content": "/w=="}, b"/w=="),
        ({"content": "/w==", "encoding": "base64"}, b"\xff"),
        ({"content": ["/w", "=="], "encoding": "base64"}, b"/w\n=="),
        ({"content": "no base64", "encoding": "base64"}, b"no base64"),
    ],
)
def test_every_form_gives_the_files_bytes_and_adds_none(value: Any, content: bytes) -> None:
    assert parse_file(value).content == content


@pytest.mark.parametrize(
    "value",
    [None, 3, [], {}, {"content": None}, {"content": ["a", 1]}, {"content": "a", "created_at": 1},
     {"content": "a", "modified_at": []}],
)  # fmt: skip
def test_a_value_of_unknown_form_is_not_a_file(value: Any) -> None:
    with pytest.raises(NotAFile):
        parse_file(value)


@given(TEXT, TIME, TIME)
def test_a_text_file_in_the_legacy_form_is_the_same_file(
    text: str, made: str | None, changed: str | None
) -> None:
    file = File(text.encode("utf-8", "surrogatepass"), True, made, changed)
    form = file.legacy_form()
    assert form["content"] == text.split("\n")
    assert parse_file(form) == file


@given(st.binary(max_size=40), TIME)
def test_a_binary_file_in_the_legacy_form_names_its_encoding(content: bytes, made: str | None) -> None:
    form = File(content, False, made).legacy_form()
    assert form["encoding"] == "base64"
    assert base64.b64decode("\n".join(form["content"])) == content
    assert ("created_at" in form) is (made is not None)


@given(TEXT)
def test_what_is_shown_can_be_sent_and_differs_only_by_lone_surrogates(text: str) -> None:
    shown, sanitized = parse_file(text).sanitized_text
    assert shown.encode().decode() == shown
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    lone = [character for character in whole if "\ud800" <= character <= "\udfff"]
    if not sanitized:
        assert shown == text
    assert sanitized is any("\ud800" <= character <= "\udfff" for character in text)
    assert shown.count("\ufffd") == whole.count("\ufffd") + len(lone)


def test_the_digest_is_of_the_bytes() -> None:
    assert parse_file({"content": ["a", ""]}).sha256 == hashlib.sha256(b"a\n").hexdigest()
