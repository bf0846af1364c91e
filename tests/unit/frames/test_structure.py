"""Frames with more values than the hub reads are kept as they came."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.events import FrameReason, StateUpdate, Token, UpstreamFrame
from server.encoding.structure import JSON, exceeds
from server.frames import structure
from server.frames.interpreter import Interpreter
from server.frames.message_list import MessageList
from server.frames.structure import is_printed_too_complex, is_too_complex

_VALUES, _MEMBERS = structure.MAX_VALUES + 1, structure.MAX_MEMBERS + 1


def _state(data: bytes) -> bytes:
    return b'{"event_type":"on_state_update","data":' + data + b"}"


@pytest.mark.parametrize(
    "data",
    [
        b'{"x":[' + b"[]," * _VALUES + b"1]}",
        b'{"messages":[' + b"1," * _VALUES + b"1]}",
        b'{"x":[' + b" {} ,\n" * _VALUES + b"1]}",
        b'{"x":' + b"[" * _VALUES + b"]" * _VALUES + b"}",
        b"{" + b",".join(b'"%d":1' % number for number in range(_MEMBERS)) + b"}",
        b'{"files":{' + b",".join(b'"%d" : ""' % number for number in range(_MEMBERS)) + b"}}",
    ],
    ids=["lists", "numbers", "spaced", "nested", "members", "files"],
)
def test_a_frame_of_too_many_values_is_kept_uninterpreted(data: bytes) -> None:
    frame = _state(data)
    interpreter = Interpreter()
    [kind] = interpreter.interpret(frame).kinds
    assert kind == UpstreamFrame("", FrameReason.TOO_COMPLEX, frame)
    # Its files may be the newer ones, also after a takeover.
    assert interpreter.files_unread
    restored = Interpreter()
    restored.restore(kind, b"")
    assert restored.files_unread


def test_marks_in_strings_do_not_count() -> None:
    text = ',:[{\\"' * _VALUES
    assert not is_too_complex(json.dumps([text]).encode())
    assert not is_printed_too_complex(repr([text]))


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_without_a_second_one_cost_no_time(quote: str) -> None:
    """And what follows them is counted."""
    text = quote + f"\\{quote}" * 1_000_000 + "," * _VALUES
    began = time.thread_time()
    assert is_printed_too_complex(f"[{text}")
    assert is_too_complex(f"[{text}".encode())
    assert not is_printed_too_complex(f"[{text}{quote}")
    assert time.thread_time() - began < 10


def test_strings_longer_than_a_piece_are_one_value() -> None:
    """Wherever a piece ends, also in an escape."""
    for length in range(65_530, 65_545):
        text = ["a" * length + '"\\' * 70_000 + ",[" * structure.MAX_VALUES]
        assert not is_too_complex(json.dumps([text, 1]).encode())
        assert not is_printed_too_complex(repr([text, 1]))


def test_members_count_for_each_object_alone() -> None:
    each = {str(number): 0 for number in range(1000)}
    assert not is_too_complex(json.dumps([each] * (_MEMBERS // 1000 + 1)).encode())


def test_a_printed_list_of_too_many_values_is_one_text() -> None:
    text = f"[AIMessage(content=[{', '.join(['1'] * structure.MAX_PRINTED_VALUES)}, 1])]"
    [kind] = Interpreter().interpret(_state(json.dumps({"messages": text}).encode())).kinds
    assert isinstance(kind, StateUpdate)
    assert [(change.message.text, change.message.uninterpreted) for change in kind.messages] == [(text, True)]


def test_a_printed_piece_of_too_many_values_is_its_text() -> None:
    raw = f"(AIMessageChunk(content=[{', '.join(['1'] * structure.MAX_PRINTED_VALUES)}, 1]), {{}})"
    frame = json.dumps({"event_type": "on_llm_stream", "data": {"raw_event": raw}}).encode()
    [kind] = Interpreter().interpret(frame).kinds
    assert kind == Token(text=raw, uninterpreted=True)


def test_printed_messages_of_too_many_characters_are_their_text() -> None:
    content = repr("line\n" * (structure.MAX_PRINTED_CHARS // 6 + 1))
    text, raw = f"[AIMessage(content={content})]", f"(AIMessageChunk(content={content}), {{}})"
    [kind] = Interpreter().interpret(_state(json.dumps({"messages": text}).encode())).kinds
    assert isinstance(kind, StateUpdate)
    assert [(change.message.text, change.message.uninterpreted) for change in kind.messages] == [(text, True)]
    frame = json.dumps({"event_type": "on_llm_stream", "data": {"raw_event": raw}}).encode()
    assert Interpreter().interpret(frame).kinds == (Token(text=raw, uninterpreted=True),)


@pytest.mark.parametrize(
    "content", [f"[{', '.join(['1'] * 130_000)}]", f"'{'x' * 3_200_000}'"], ids=["values", "characters"]
)
def test_a_printed_list_that_grows_too_complex_is_read_as_one_that_came_whole(content: str) -> None:
    """So that a replica which takes the run over has the same messages."""
    grown = MessageList()
    for count in range(1, 4):
        texts = [f"AIMessage(content={content}, id='{number}')" for number in range(count)]
        text = f"[{', '.join(texts)}]"
        grown.read(json.dumps(text).encode())
        whole = MessageList()
        whole.read(json.dumps(text).encode())
        assert grown.messages == whole.messages
    assert [message.uninterpreted for message in grown.messages] == [True]


def test_a_list_of_too_many_messages_is_one_text() -> None:
    listed: list[dict[str, Any]] = [{"type": "ai", "content": "a"}] * 100_001
    [kind] = Interpreter().interpret(_state(json.dumps({"messages": listed}).encode())).kinds
    assert isinstance(kind, StateUpdate)
    [change] = kind.messages
    assert change.message.uninterpreted
    assert json.loads(change.message.text) == listed


@given(
    part=st.text(alphabet=r'[]{}:,"\a', min_size=1, max_size=40),
    end=st.text(alphabet=r'[]{}:,"\a', max_size=40),
    max_values=st.integers(0, 60_000),
    max_members=st.integers(0, 10_000),
)
def test_values_and_members_are_counted_outside_of_strings(
    part: str, end: str, max_values: int, max_members: int
) -> None:
    text = part * (66_000 // len(part)) + end
    values, members = _counted(text)
    expected = values > max_values or members > max_members
    assert exceeds(text.encode(), JSON, max_values=max_values, max_members=max_members) is expected


def _counted(text: str) -> tuple[int, int]:
    """The values of a text, and the members of its largest object; character by character."""
    values = members = most = at = 0
    outer = list[int]()
    while at < len(text):
        char, at = text[at], at + 1
        if char == '"' and (string := re.match(r'(?:[^"\\]|\\.)*"', text[at:])):
            at += string.end()
        elif char == '"':
            text, at = text[at:].replace('"', "a"), 0
        elif char in ",[{":
            values += 1
        if char in "[{":
            outer.append(members)
            members = 0
        elif char in "]}":
            members = outer.pop() if outer else 0
        elif char == ":":
            members += 1
            most = max(most, members)
    return values, most
