"""Texts with lone surrogates, which UTF-8 does not carry, in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.encoding.json_text import byte_pieces, decode_surrogates, replace_surrogates

#: Surrogates, and characters of one to four bytes, around the ends of pieces.
_PARTS = st.lists(
    st.sampled_from(["\ud800", "\udc00", "\ud83d\ude00", "a", "é", "€", "😀", "a" * 16, "€" * 5]),
    min_size=1,
    max_size=8,
)
#: What comes before the parts, so that they lie around the end of a piece. Hypothesis shows no long texts.
_BEFORE = st.sampled_from([0, 16_370, 16_382, 32_750])


@given(_BEFORE, _PARTS)
def test_a_text_in_pieces_is_the_text_at_once(before: int, parts: list[str]) -> None:
    text = "a" * before + "".join(parts)
    at_once = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert replace_surrogates(text) == at_once
    data = text.encode("utf-8", "surrogatepass")
    assert decode_surrogates(data) == data.decode("utf-8", "surrogatepass") == text


def test_bytes_that_are_not_utf_8_come_in_pieces_all_the_same() -> None:
    data = b"\x80" * 100
    assert b"".join(byte_pieces(data, 16)) == data
