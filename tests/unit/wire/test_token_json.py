"""The proto-JSON of token events: made from shared parts, it is what the library gives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.events import Event, Role, Token, ToolCallPiece
from server.wire import messages as m
from server.wire.codec import ProtobufCodec
from server.wire.rendering import message_json
from server.wire.token_json import token_event_json

CODEC = ProtobufCodec()
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WORDS = st.sampled_from(["", "a", 'a"text":"b', "\0", "é😀", "\n\u2028\x7f", "x" * 300]) | st.text(max_size=8)
TOKENS = st.builds(
    Token,
    message_id=WORDS,
    role=st.sampled_from(Role),
    text=WORDS,
    tool_calls=st.sampled_from([(), (ToolCallPiece(0, "c", "write", '{"text":"x"}'),)]),
    node=WORDS,
    last=st.booleans(),
    name=WORDS,
    status=WORDS,
    namespace=WORDS,
)
TIMES = st.integers(0, 2_000_000).map(lambda micros: NOON + timedelta(microseconds=micros))


def by_library(event: bytes) -> bytes:
    return message_json(m.Event.FromString(event))


@given(st.integers(1, 1 << 31), st.integers(1, 300), TIMES, TOKENS)
def test_the_json_of_a_token_is_the_librarys(seq: int, epoch: int, time: datetime, token: Token) -> None:
    event = CODEC.encode(Event(seq, epoch, time, token))
    made = token_event_json(event)
    if token.text and len(event) < 1000:
        assert made == by_library(event)
    else:
        assert made is None or made == by_library(event)


@given(st.binary(max_size=60))
def test_any_bytes_give_what_the_library_gives_or_nothing(data: bytes) -> None:
    made = token_event_json(data)
    assert made is None or made == by_library(data)


@pytest.mark.parametrize(
    "more",
    [m.Event(omitted_bytes=5), m.Event(truncated=True), m.Event(discontinuity=m.Discontinuity(reason=1))],
)
def test_an_event_with_more_than_a_token_is_left_to_the_library(more: m.Event) -> None:
    event = CODEC.encode(Event(1, 1, NOON, Token(text="a")))
    behind = event + more.SerializeToString()
    in_order = m.Event.FromString(behind).SerializeToString()
    assert token_event_json(behind) is None
    assert token_event_json(in_order) is None
