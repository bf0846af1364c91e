"""State frames of the recordings with parts put in, taken out and repeated: with compiled steps they mean
what they mean without, and their deltas give the same texts."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.runs.runtime import FrameInterpreter
from server.encoding.frame_delta import DEFLATE_FROM_BYTES, DeltaContext, Encoding, apply_delta, encode_delta
from server.frames.interpreter import Interpreter
from server.frames.message_list import MessageList
from tests.support.recordings import NAMES, frames
from tests.unit.compiled.forms import compiled, compiled_steps
from tests.unit.compiled.test_changed_frames import changed

STATES = [frame for name in NAMES for frame in frames(name) if b'"on_state_update"' in frame[:64]]
#: Each seed: so many runs of up to six frames.
RUNS = 40


def assert_same(interpreter: FrameInterpreter, sent: list[bytes]) -> None:
    """The frames mean the same to the interpreter and to one in Python."""
    in_python, given, expected = Interpreter(), DeltaContext(), DeltaContext()
    for frame in sent:
        meaning, right = interpreter.interpret(frame), in_python.interpret(frame)
        assert replace(meaning, delta=b"") == replace(right, delta=b"")
        assert meaning.delta[:9] == right.delta[:9]
        if right.delta[:1] == bytes((Encoding.STATE,)):
            assert given.decode(meaning.delta) == expected.decode(right.delta)


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_means_the_same(name: str) -> None:
    assert_same(compiled()(), [frame for frame in frames(name) if frame in STATES])


@pytest.mark.parametrize("seed", range(20))
def test_changed_states_mean_the_same(seed: int) -> None:
    random, form = Random(seed), compiled()
    for _ in range(RUNS):
        at = random.randrange(len(STATES))
        sent = STATES[at : at + random.randrange(1, 4)]
        for frame in list(sent):
            if random.random() < 0.7:
                # Behind the one that it is made from, and before the next one, which no longer extends it.
                sent.insert(
                    sent.index(frame) + 1, changed(random, frame, (b"content=", b"tool_calls=", b"usage_"))
                )
        assert_same(form(), sent)


#: Values as `repr` writes them, or in another way. Then characters that it never writes.
VALUES = (
    *r"""
    1 | -1 | 0 | -0 | 01 | 1.5 | 1.50 | 0.0001 | 0.00001 | 123456789012345678 | 1e5 | nan | -0.0
    '' | 'a' | "it's" | '\n' | '\x07' | '\ud800' | '\U0001f600' | 'é' | '\\' | '\"' | '/' | 'x" y' | b'x'
    None | True | False | [] | {} | [1, 2] | {'a': 1} | {'a': 1, 'a': 2} | {'a': {'b': [None]}} | 'a', b='c'
    (1,) | (1, 2) | () | {1: 2} | {1, 2} | [1,2] | {'a':1} | <object at 0x1> | [1, ] | A(b=1)
    12345678.12345678 | {'\x00': '\x7f'} | [[[]], {'a': -1.25}] | {'name': None, 'args': None, 'id': None}
    {'function': {'name': 'f', 'arguments': '{}'}, 'id': 'c'} | {'name': 'f', 'args': 'text', 'id': 'c'}
    {'name': 'f', 'args': {'x': 0.1}, 'id': 'c', 'type': 'tool_call'} | {'id': 'c', 'extra': '\x0'}
    {'input_tokens': 3, 'output_token_details': {'reasoning': 2}} | {'input_tokens': -3, 'total_tokens': '4'}
    {'input_tokens': True, 'input_token_details': []} | {'total_tokens': '\ud800'}
    """.strip()
    .replace("\n", "|")
    .split("|"),
    *("'\ud83d'", "'\x00'", "'\x7f'", "'a\nb'", "' | '"),
)
MEMBERS = (
    *("content", "id", "name", "tool_call_id", "status", "tool_calls", "invalid_tool_calls"),
    *("usage_metadata", "additional_kwargs", "response_metadata", "role", "artifact"),
)
CLASSES = (
    *("HumanMessage", "AIMessage", "ToolMessage", "SystemMessage"),
    *("AIMessageChunk", "ChatMessage", "RemoveMessage", "FunctionMessage", "a.b.AIMessage", "_Message", "X"),
)


def printed(random: Random) -> str:
    """A message with members as they are, or odd ones."""
    members = [("content", random.choice(("'text'", "''", "'a\\nb'", random.choice(VALUES).strip())))]
    for name in random.sample(MEMBERS, random.randrange(5)):
        value = random.choice(VALUES).strip()
        members.append((name, f"[{value}]" if name == "tool_calls" and random.random() < 0.8 else value))
    of_class = random.choice(CLASSES[: random.choice((4, 4, len(CLASSES)))])
    return f"{of_class}({', '.join('='.join(each) for each in members)})"


@pytest.mark.parametrize("seed", range(20))
def test_messages_with_any_members_are_those_that_python_reads(seed: int) -> None:
    random, read_printed, taken = Random(seed), compiled_steps().read_printed, 0
    for _ in range(100):
        fast, slow, listed = MessageList(), MessageList(), list[str]()
        for _ in range(random.randrange(1, 5)):
            listed.append(printed(random))
            text = json.dumps(f"[{', '.join(listed)}]", ensure_ascii=random.random() < 0.5)
            raw = text.encode("utf-8", "replace")
            found = read_printed(raw, 2)
            taken += found is not None and all(members is not None for _, members in found[0])
            assert fast.read(raw, read_printed) == slow.read(raw)
            for name in ("messages", "_sources", "_regular", "_chars", "_marks"):
                assert getattr(fast, name) == getattr(slow, name)
    assert taken > 10


@pytest.mark.parametrize("depth", [10, 100, 5_000])
def test_values_in_values_are_left_to_python_at_a_depth(depth: int) -> None:
    value = f"{'[' * depth}{']' * depth}"
    raw = json.dumps(f"[AIMessage(content='a', tool_calls=[{{'args': {value}}}])]").encode()
    found = compiled_steps().read_printed(raw, 2)
    assert (found is None) is (depth > 10)
    fast, slow = MessageList(), MessageList()
    assert fast.read(raw, compiled_steps().read_printed) == slow.read(raw)


def test_a_long_list_is_left_to_python() -> None:
    for size, taken in ((1_000, True), (200_000, False)):
        raw = json.dumps(f"[AIMessage(content='{'a' * size}')]").encode()
        assert (compiled_steps().read_printed(raw, 2) is not None) is taken
    assert compiled_steps().read_printed(b'"[]"', 100) is None


TEXTS = st.binary(max_size=40) | st.binary(min_size=1, max_size=4).map(lambda part: part * 100)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_a_difference_gives_the_new_text(head: bytes, old: bytes, new: bytes, tail: bytes) -> None:
    before, after = head + old + tail, head + new + tail
    delta = compiled_steps().encode_delta(before, after)
    assert apply_delta(before, delta, 0) == (after, len(delta))
    if len(new) < DEFLATE_FROM_BYTES:
        assert delta == encode_delta(before, after)
