"""Pieces of tool calls: different calls of a message have different indexes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.events import Token
from server.frames.interpreter import Interpreter
from tests.unit.frames.printed_messages import token_frame


def chunk(
    call_id: str | None = None, name: str | None = None, args: str = "", index: Any = None
) -> dict[str, Any]:
    return {"name": name, "args": args, "id": call_id, "index": index, "type": "tool_call_chunk"}


def piece_frame(*chunks: dict[str, Any], message_id: str | None = "m", last: bool = False) -> bytes:
    tail = ", chunk_position='last'" if last else ""
    return token_frame(
        f"(AIMessageChunk(content='', id={message_id!r}, tool_call_chunks={list(chunks)!r}{tail}), {{}})"
    )


def indexes(*frames: bytes) -> list[int]:
    interpreter = Interpreter()
    return [
        piece.index
        for frame in frames
        for kind in interpreter.interpret(frame).kinds
        if isinstance(kind, Token)
        for piece in kind.tool_calls
    ]


def test_numbered_calls_keep_their_numbers() -> None:
    frames = [piece_frame(chunk("a", "f", index=1)), piece_frame(chunk(index=0)), piece_frame(chunk(index=1))]
    assert indexes(*frames) == [1, 0, 1]


def test_calls_without_a_number_are_numbered_by_their_ids() -> None:
    assert indexes(piece_frame(chunk("a", "f"), chunk("b", "f"))) == [0, 1]
    frames = [piece_frame(chunk(name, "f")) for name in ("a", "b", "a", "c")]
    assert indexes(*frames) == [0, 1, 0, 2]


def test_a_piece_without_number_id_and_name_continues_the_call_before_it() -> None:
    frames = [
        piece_frame(chunk("a", "f")),
        piece_frame(chunk(args="{")),
        piece_frame(chunk("b", "f"), chunk(args="}")),
    ]
    assert indexes(*frames) == [0, 0, 1, 1]


def test_calls_without_number_and_id_begin_with_their_name() -> None:
    frames = [piece_frame(chunk(name="f", args="{}")), piece_frame(chunk(name="f", args="{}"))]
    assert indexes(*frames) == [0, 1]


def test_different_calls_with_one_number_are_kept_apart() -> None:
    frames = [piece_frame(chunk("a", "f", index=0)), piece_frame(chunk("b", "g", index=0))]
    assert indexes(*frames) == [0, 1]


@pytest.mark.parametrize("odd", ["lc_tc_0", -1, 2**32, 1.5, True, [], "0"])
def test_an_odd_number_counts_as_none(odd: Any) -> None:
    assert indexes(piece_frame(chunk("a", "f", index=odd), chunk("b", "f", index=odd))) == [0, 1]


def test_each_message_has_its_own_numbers() -> None:
    frames = [
        piece_frame(chunk(call_id, "f"), message_id=message) for message, call_id in ("xa", "ya", "xb", "yb")
    ]
    assert indexes(*frames) == [0, 0, 1, 1]
    # Of messages without an id, the last piece ends the numbers.
    frames = [piece_frame(chunk(call_id, "f"), message_id=None, last=call_id != "a") for call_id in "abc"]
    assert indexes(*frames) == [0, 1, 0]


CHUNKS = st.builds(
    chunk,
    st.sampled_from([None, "", "a", "b", "\ud800"]),
    st.sampled_from([None, "f"]),
    st.just("{}"),
    st.sampled_from([None, 0, 1, 5, "lc_0", -1]),
)
PIECES = st.builds(
    lambda chunks, message_id, last: piece_frame(*chunks, message_id=message_id, last=last),
    st.lists(CHUNKS, max_size=3),
    st.sampled_from([None, "m", "n"]),
    st.booleans(),
)


@given(st.lists(PIECES, max_size=6), st.lists(PIECES, max_size=4))
def test_a_restored_interpreter_gives_the_same_numbers(before: list[bytes], after: list[bytes]) -> None:
    steady, restored = Interpreter(), Interpreter()
    for frame in before:
        meaning = steady.interpret(frame)
        restored.restore(meaning.kinds[0], meaning.delta)
    for frame in after:
        assert restored.interpret(frame) == steady.interpret(frame)


def test_many_messages_and_calls_are_read_at_once() -> None:
    """Quadratic work would take minutes: the test's time limit ends it."""
    chunks = [chunk(f"c{number}", "f") for number in range(5_000)]
    assert indexes(piece_frame(*chunks)) == list(range(5_000))
    frames = [piece_frame(chunk("a", "f"), message_id=f"m{number}") for number in range(2000)]
    assert indexes(*frames) == [0] * 2000
