"""JSON text, split and decoded: in pieces it gives the same as in one."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.encoding.structure import count
from server.frames import raw_json

#: Characters of one to four bytes, and those that are escaped.
TEXTS = st.text(st.sampled_from('ab\n"\\\x00é€😀\u2028'), max_size=120)
#: The shortest pieces that always end behind a whole character.
PIECES = st.integers(32, 80)


def pieced(text: bytes, piece_bytes: int) -> str | None:
    """The value of a JSON string that was decoded in pieces."""
    value = raw_json.string_bytes(text, piece_bytes=piece_bytes)
    return None if value is None else value.decode()


@given(value=TEXTS, piece_bytes=PIECES, escaped=st.booleans())
def test_a_string_in_pieces_has_the_value_that_it_has_as_a_whole(
    value: str, piece_bytes: int, *, escaped: bool
) -> None:
    assert pieced(json.dumps(value, ensure_ascii=escaped).encode(), piece_bytes) == value


@given(
    value=TEXTS, piece_bytes=PIECES, escaped=st.booleans(), at=st.integers(1, 500), sign=st.binary(max_size=2)
)
@example(value="\\" * 60, piece_bytes=32, escaped=True, at=33, sign=b'"')
@example(value="😀" * 20, piece_bytes=32, escaped=True, at=37, sign=b"x")
@example(value="é" * 40, piece_bytes=32, escaped=False, at=32, sign=b"\xa9")
def test_a_string_that_is_not_proper_is_refused_in_pieces_too(
    value: str, piece_bytes: int, *, escaped: bool, at: int, sign: bytes
) -> None:
    text = json.dumps(value, ensure_ascii=escaped).encode()
    at = min(at, len(text) - 1)
    spoilt = text[:at] + sign + text[at + 1 :]
    assert pieced(spoilt, piece_bytes) == raw_json.strict_string(spoilt)


@pytest.mark.parametrize("text", [b"", b'"', b"1", b'"a', b'a"', b"[]"])
def test_what_is_no_string_is_refused(text: bytes) -> None:
    assert raw_json.string_bytes(text) is None


def test_a_string_of_several_mebibytes_has_its_value() -> None:
    value = 'a line\n\\ "é" 😀' * (3 << 16)
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert raw_json.string_bytes(text.encode()) == value.encode()


def test_marks_are_counted_across_pieces() -> None:
    assert count(b"a,b:c," * (1 << 19), b",", b":") == 3 << 19
    assert count("", ",") == 0
