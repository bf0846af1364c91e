"""Frames with more values than the hub reads are kept as they came."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.domain.journal.events import FrameReason, StateUpdate, Token, UpstreamFrame
from server.frames import structure
from server.frames.interpreter import Interpreter
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


def test_a_list_of_too_many_messages_is_one_text() -> None:
    listed: list[dict[str, Any]] = [{"type": "ai", "content": "a"}] * 100_001
    [kind] = Interpreter().interpret(_state(json.dumps({"messages": listed}).encode())).kinds
    assert isinstance(kind, StateUpdate)
    [change] = kind.messages
    assert change.message.uninterpreted
    assert json.loads(change.message.text) == listed
