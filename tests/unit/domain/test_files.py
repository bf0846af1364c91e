"""Files: the runtime's forms in, the legacy form out."""

from __future__ import annotations

import base64
import hashlib
import json
import time
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
        (["a", "", "b"], b"a\n\nb"),
        ([], b""),
        ({"content": "b'\\x89PNG'"}, b"b'\\x89PNG'"),
        ({"content": "data:text/plain;base64,/w=="}, b"data:text/plain;base64,/w=="),
    ],
)
def test_every_form_of_a_text_gives_the_files_bytes_and_adds_none(value: Any, content: bytes) -> None:
    file = parse_file(value)
    assert (file.content, file.is_text, file.extra) == (content, True, {})


BINARY = bytes(range(256)) * 2
_ENCODED = base64.b64encode(BINARY).decode()


@pytest.mark.parametrize(
    ("content", "binary"),
    [
        (_ENCODED, BINARY),
        (base64.encodebytes(BINARY).decode(), BINARY),
        (base64.encodebytes(BINARY).decode().replace("\n", "\r\n"), BINARY),
        (base64.encodebytes(BINARY).decode().replace("\n", "\n    "), BINARY),
        (f"\n {_ENCODED}\n\n", BINARY),
        (base64.encodebytes(BINARY).decode().replace("\n", " "), BINARY),
        (base64.encodebytes(BINARY).decode().replace("\n", "\t"), BINARY),
        (f"{_ENCODED[:64]} {_ENCODED[64:128]}  {_ENCODED[128:136]}", BINARY[:102]),
        (f"data:image/png;base64, {base64.encodebytes(BINARY).decode()}".replace("\n", " "), BINARY),
        (f"\f{_ENCODED}\v", BINARY),
        (f"\ufeff{_ENCODED}", BINARY),
        (base64.encodebytes(BINARY).decode().split("\n"), BINARY),
        (["/w", "=="], b"\xff"),
        (base64.urlsafe_b64encode(BINARY).decode(), BINARY),
        (_ENCODED.rstrip("="), BINARY),
        ("_w", b"\xff"),
        ("/w=", b"\xff"),
        (f"data:image/png;base64,{_ENCODED}", BINARY),
        ("data:image/svg+xml;charset=utf-8;base64,/w==", b"\xff"),
        ("DATA:;BASE64,\n/w==\n", b"\xff"),
        ("", b""),
        ([], b""),
    ],
)
@pytest.mark.parametrize("encoding", ["base64", "BASE64"])
def test_base64_is_read_in_every_way_that_it_is_written(content: Any, binary: bytes, encoding: str) -> None:
    file = parse_file({"content": content, "encoding": encoding})
    assert (file.content, file.is_text, file.extra) == (binary, False, {})


@pytest.mark.parametrize(
    "text",
    ["no base64", "some text", "password hunter22", f"{'a' * 32} {'b' * 36}", f"{'a' * 33} bcd",
     "/w==\ufeff/w==", "/w===", "a", "aaaaa", "/w==/w==", "/w=a", "é", "\ud800", "%%%"],
)  # fmt: skip
def test_what_is_not_base64_stays_text_and_keeps_its_encoding(text: str) -> None:
    file = parse_file({"content": text, "encoding": "base64"})
    assert (file.text, file.is_text, file.extra) == (text, True, {"encoding": '"base64"'})


@pytest.mark.parametrize(
    "value",
    [None, 3, True, 1.5, [1], ["a", None], [["a"]], {}, {"content": None}, {"content": ["a", 1]},
     {"content": {"a": 1}}, {"content": 7}, {"content": [{"type": "text", "text": "a"}]}, {"text": "a"}],
)  # fmt: skip
def test_a_value_of_unknown_form_is_not_a_file(value: Any) -> None:
    with pytest.raises(NotAFile):
        parse_file(value)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (None, None),
        ("", ""),
        ("2025-12-18T06:22:32.407375+00:00", "2025-12-18T06:22:32.407375+00:00"),
        ("yesterday", "yesterday"),
        (1734500000, "1734500000"),
        (1734500001.5, "1734500001.5"),
        (0, "0"),
        (False, "false"),
        ([2025, 1, 1], "[2025,1,1]"),
        ({"$date": 1}, '{"$date":1}'),
    ],
)
def test_a_time_in_any_form_is_kept_as_text(sent: Any, kept: str | None) -> None:
    file = parse_file({"content": "x", "created_at": sent, "modified_at": sent})
    assert (file.content, file.created_at, file.modified_at) == (b"x", kept, kept)


def test_other_members_are_kept_as_json_text() -> None:
    value = {"content": "x", "mode": 420, "": None, "tags": ["a", {"b": 1.5}], "sha256": "y", "\ud800": "\0"}
    file = parse_file(value | {"encoding": "utf-16"})
    assert file.extra == {
        "mode": "420",
        "": "null",
        "tags": '["a",{"b":1.5}]',
        "sha256": '"y"',
        "\ud800": '"\\u0000"',
        "encoding": '"utf-16"',
    }
    for implied in (None, "utf-8"):
        assert parse_file({"content": "x", "encoding": implied}).extra == {}


def test_a_member_that_is_nested_deeper_than_json_is_written_costs_its_file_alone() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotAFile):
        parse_file({"content": "x", "more": deep})


def test_no_content_takes_long_to_decode() -> None:
    size = 8 << 20
    for content in (
        " " * size,
        "\n" * size,
        "=" * size,
        "data:" + ";" * size,
        "a " * (size // 2),
        "a" * 32 + " a" * (size // 2),
        "-" * size,
    ):
        began = time.thread_time()
        parse_file({"content": content, "encoding": "base64"})
        assert time.thread_time() - began < 5


MEMBERS = st.dictionaries(
    TEXT.filter(lambda name: name not in ("content", "encoding", "created_at", "modified_at")),
    TEXT | st.integers() | st.none() | st.lists(TEXT, max_size=2),
    max_size=3,
)


@given(TEXT, TIME, TIME, MEMBERS)
def test_a_text_file_in_the_legacy_form_is_the_same_file(
    text: str, made: str | None, changed: str | None, members: dict[str, Any]
) -> None:
    file = parse_file({"content": text, "created_at": made, "modified_at": changed, **members})
    form = json.loads(b"".join(file.legacy_json_parts()))
    assert form["content"] == text.split("\n")
    assert parse_file(form) == file


@given(st.binary(max_size=40), TIME)
def test_a_binary_file_in_the_legacy_form_names_its_encoding(content: bytes, made: str | None) -> None:
    file = File(content, False, made)
    form = json.loads(b"".join(file.legacy_json_parts()))
    assert form["encoding"] == "base64"
    assert base64.b64decode("\n".join(form["content"])) == content
    assert ("created_at" in form) is (made is not None)
    assert parse_file(form) == file


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
