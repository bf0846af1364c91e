"""Deltas: what is encoded is decoded, in few bytes."""

from __future__ import annotations

import re
from hashlib import blake2b
from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from server.encoding.event_batch import read_varint
from server.encoding.frame_delta import (
    DEFLATE_FROM_BYTES,
    DIGEST_BYTES,
    FILES_PLACEHOLDER,
    MESSAGES_PLACEHOLDER,
    WHOLE_BYTES,
    DeltaContext,
    Encoding,
    digest_of,
    encode_delta,
    frame_digest,
    whole_digest,
)

LIKE = st.builds(
    lambda head, text, tail: b"a" * head + text + b"b" * tail,
    st.integers(0, 300),
    st.binary(max_size=100),
    st.integers(0, 300),
)
FEW = st.text("ab", max_size=12).map(str.encode) | st.binary(max_size=400)


@given(st.lists(FEW, max_size=8))
def test_token_texts_are_decoded_as_they_were_encoded(frames: list[bytes]) -> None:
    writer, reader = DeltaContext(), DeltaContext()
    for frame in frames:
        assert reader.decode(writer.encode_token(frame)) == (Encoding.TOKEN, frame)


@given(st.lists(LIKE, max_size=8))
def test_a_token_delta_depends_on_the_last_text_alone(frames: list[bytes]) -> None:
    writer, last = DeltaContext(), b""
    for frame in frames:
        assert writer.encode_token(frame)[1 + DIGEST_BYTES :] == encode_delta(last, frame)
        last = frame


@given(LIKE, LIKE)
def test_a_delta_has_the_longest_common_head_and_behind_it_the_longest_common_tail(
    old: bytes, new: bytes
) -> None:
    head, at = read_varint(encode_delta(old, new), 0)
    tail, _ = read_varint(encode_delta(old, new), at)
    assert head == common(old, new)
    assert tail == common(old[head:][::-1], new[head:][::-1])


def common(old: bytes, new: bytes) -> int:
    """Length of the common start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))


@given(FEW, FEW, st.integers(0, 3000))
def test_a_delta_is_not_longer_than_what_is_new(head: bytes, tail: bytes, size: int) -> None:
    old, new = head + tail, head + b"x" * size + tail
    assert len(encode_delta(old, new)) <= 12 + min(size, DEFLATE_FROM_BYTES)


@given(st.lists(st.tuples(FEW, FEW | st.none()), max_size=6))
def test_a_skeleton_is_decoded_with_its_messages_and_the_placeholder_for_files(
    states: list[tuple[bytes, bytes | None]],
) -> None:
    writer, reader = DeltaContext(), DeltaContext()
    for rest, messages in states:
        skeleton = (
            rest.replace(b"\0", b"") + (b"" if messages is None else MESSAGES_PLACEHOLDER) + FILES_PLACEHOLDER
        )
        delta = writer.encode_state(frame_digest(b"frame"), skeleton, messages)
        expected = skeleton if messages is None else skeleton.replace(MESSAGES_PLACEHOLDER, messages)
        assert reader.decode(delta) == (Encoding.STATE, expected)


def test_the_digest_is_of_the_frame_as_it_was_received() -> None:
    for delta in (
        DeltaContext().encode_token(b"frame", b"proper"),
        DeltaContext().encode_full_text(b"frame", b"proper"),
        DeltaContext().encode_event_body(b"frame"),
        DeltaContext().encode_state(frame_digest(b"frame"), b"skeleton", None),
    ):
        assert digest_of(delta) == frame_digest(b"frame")
    assert digest_of(b"") is None


@given(st.lists(st.integers(0, 6 << 10), max_size=8), st.binary(min_size=1, max_size=4))
def test_the_digest_of_a_long_frame_is_that_of_pieces_that_begin_with_a_brace(
    sizes: list[int], filling: bytes
) -> None:
    frame = b"{".join((filling * size)[:size] for size in sizes)
    digest = frame_digest(frame)
    if len(frame) <= WHOLE_BYTES:
        assert digest == whole_digest(frame)
    else:
        pieces = re.findall(rb".{1,4096}[^{]*", frame, re.DOTALL)
        assert b"".join(pieces) == frame
        digests = [blake2b(piece, digest_size=16).digest() for piece in pieces]
        assert digest == whole_digest(b"".join(digests))
