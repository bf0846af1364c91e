"""What a run remembers of its agent's frames is bounded, or counted: a user may have 50 open runs."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import pytest

from server.domain.journal.events import FrameReason, StateUpdate, Token, UpstreamFrame
from server.frames.digests import short
from server.frames.interpreter import Interpreter
from server.frames.other_keys import MAX_KEYS, OtherKeys
from server.frames.run_files import MAX_UNREAD_BYTES
from tests.support.runtime import state_frame

LARGE = 100_000
#: Bytes that a run may remember besides what it counts.
MAX_BYTES = 1 << 20


def state(**data: Any) -> bytes:
    return json.dumps(state_frame(**data)).encode()


def printed(content: str, rest: str) -> bytes:
    text = f"(AIMessageChunk(content={content!r}, {rest}"
    return json.dumps({"event_type": "on_llm_stream", "data": {"raw_event": text}}).encode()


def piece(chunks: list[dict[str, Any]], message_id: str = "m") -> bytes:
    message = {"type": "AIMessageChunk", "content": "", "id": message_id, "tool_call_chunks": chunks}
    return json.dumps({"event_type": "on_llm_stream", "data": {"raw_event": [message, {}]}}).encode()


def calls(number: int) -> bytes:
    return piece([{"id": f"{number}-{index}", "name": "t", "args": ""} for index in range(2_000)])


#: Thirty frames of each kind. The emoji makes each character take four bytes.
KINDS = {
    "other keys": lambda n: state(**{f"key{n}": "v" * LARGE}),
    "many keys": lambda n: state(**{f"{n}-{index}": index for index in range(3_000)}),
    "long keys": lambda n: state(**{f"{n}" + "k" * LARGE: 1}),
    "a todo list": lambda n: state(
        todos=[{"content": f"{n} {index}", "status": "s"} for index in range(3_000)]
    ),
    "a question": lambda n: state(__interrupt__=[f"{n}" + "q" * LARGE]),
    "metadata": lambda n: printed("x", f"id='m'), {{'langgraph_node': '\U0001f642{n}{'n' * LARGE}'}})"),
    "class names": lambda n: printed("x", "id='m'), {})").replace(
        b"AIMessageChunk", b"A%d" % n + b"a" * LARGE
    ),
    "contents": lambda n: printed("\U0001f642" + "c" * LARGE, f"id='{n}'), {{}})"),
    "tool calls": calls,
    "ids of tool calls": lambda n: piece([{"id": f"{n}" + "i" * LARGE, "name": "t", "args": ""}]),
    "ids of messages": lambda n: piece([{"id": "c", "name": "t", "args": ""}], f"{n}" + "i" * LARGE),
    "small files": lambda n: state(files={f"/{index}": f"{n}" for index in range(3_000)}),
    "no files": lambda n: state(files={f"/{index}": n for index in range(3_000)}),
}


def held_bytes(value: object) -> int:
    """The bytes of all objects that a value leads to, without code."""
    seen: set[int] = set()

    def sizes(waiting: list[object]) -> Iterator[int]:
        while waiting:
            each = waiting.pop()
            if id(each) in seen or isinstance(each, type | ModuleType | FunctionType | BuiltinFunctionType):
                continue
            seen.add(id(each))
            yield sys.getsizeof(each)
            waiting += gc.get_referents(each)

    return sum(sizes([value]))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_run_remembers_is_counted_or_little(kind: str) -> None:
    interpreter = Interpreter()
    for number in range(30):
        interpreter.interpret(KINDS[kind](number))
    assert held_bytes(interpreter) <= 2 * interpreter.memory_bytes + MAX_BYTES


def test_a_key_that_was_not_sent_for_long_counts_as_new() -> None:
    keys = OtherKeys()
    assert keys.read({"a": b"1", "b": b'"%b"' % (b"x" * LARGE)}).keys() == {"a", "b"}
    assert keys.read({"a": b"1", "b": b'"%b"' % (b"x" * LARGE)}) == {}
    assert keys.read({"b": b'"%b"' % (b"y" * LARGE)}).keys() == {"b"}
    keys.read({f"{number}": b"0" for number in range(MAX_KEYS)})
    assert keys.read({"a": b"1", "0": b"0"}) == {"a": "1"}


def test_a_digest_is_not_longer_than_the_value() -> None:
    for size in (0, 1, 31, 32, 33, LARGE):
        assert len(short(b"x" * size)) == min(size, 32)


def test_a_todo_list_counts_as_changed_when_any_of_its_texts_differs() -> None:
    interpreter = Interpreter()

    def changed(*todos: tuple[str, str], space: str = "") -> bool:
        listed = [{"content": content, "status": status} for content, status in todos]
        frame = state(todos=listed).replace(b'"todos":', b'"todos":' + space.encode())
        (kind,) = interpreter.interpret(frame).kinds
        assert isinstance(kind, StateUpdate)
        return kind.todos is not None

    assert changed(("a", "b"), ("c", "d"))
    assert not changed(("a", "b"), ("c", "d"))
    assert not changed(("a", "b"), ("c", "d"), space="  ")
    assert changed(("ab", ""), ("c", "d"))
    assert changed()


def test_a_map_with_too_many_entries_that_are_no_files_is_kept_and_changes_nothing() -> None:
    interpreter = Interpreter()
    interpreter.interpret(state(files={"/a": "x"}, messages=[], n=1))
    (kind,) = interpreter.interpret(state(files={"/b": ["x", 1] * MAX_UNREAD_BYTES}, messages=[], n=2)).kinds
    assert isinstance(kind, UpstreamFrame)
    assert kind.reason is FrameReason.TOO_COMPLEX
    assert interpreter.files.by_path.keys() == {"/a"}
    assert interpreter.files_unread
    (kind,) = interpreter.interpret(state(files={"/a": "x"}, messages=[], n=2)).kinds
    assert isinstance(kind, StateUpdate)
    assert kind.extra == {"n": "2"}


def test_pieces_of_a_tool_call_have_its_number_beside_a_thousand_others() -> None:
    interpreter = Interpreter()

    def index(chunk: dict[str, Any]) -> int:
        (kind,) = interpreter.interpret(piece([chunk])).kinds
        assert isinstance(kind, Token)
        return kind.tool_calls[-1].index

    interpreter.interpret(calls(0))
    assert index({"id": "late", "name": "t", "args": "{"}) == 2_000
    assert index({"id": "late", "args": "}"}) == 2_000
    assert index({"args": " "}) == 2_000
    assert index({"id": "0-1999", "args": "}"}) == 1_999
