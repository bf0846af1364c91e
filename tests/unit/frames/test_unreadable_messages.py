"""A message that cannot be read costs itself: the others are read, and it is journalled once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.domain.journal.events import AgentMessage, Event, Role, StateUpdate
from server.frames.interpreter import Interpreter
from server.wire.codec import ProtobufCodec
from tests.unit.frames.printed_messages import (
    read_list,
    recorded,
    state_frame,
    token_frame,
    tool_message,
)

TABLE = "   name  note\n0  Ann   it's ok\n1  Bob   (half"
HUMAN = "HumanMessage(content='go, (on', additional_kwargs={}, response_metadata={}, id='h1')"
#: A text that looks like the end of its message and the beginning of another.
DECOY = """AIMessage(content="it's), AIMessage(content='x', id='evil'), HumanMessage(content=[", id='a1')"""
EMPTY = "AIMessage(content='', id='a2', tool_calls=[{'name': 'f', 'args': {'a': '('}, 'id': 'c'}])"


@pytest.mark.parametrize("case", recorded("artifacts"), ids=lambda case: case["printed"][70:110])
def test_whatever_an_artifact_prints_the_message_and_its_neighbours_are_read(case: dict[str, str]) -> None:
    expected = [*read_list(HUMAN), *read_list(DECOY), *read_list(EMPTY)]
    printed = case["printed"]
    for place in range(4):
        listed = [HUMAN, DECOY, EMPTY]
        listed.insert(place, printed)
        found = read_list(*listed, printed)
        for message in (found.pop(place), found.pop()):
            assert (message.text, message.name, message.id, message.tool_call_id, message.role) == (
                case["text"],
                case["name"],
                case["id"],
                case["tool_call_id"],
                Role.TOOL,
            )
            assert (message.status == "error") == case["error"]
        assert found == expected


@pytest.mark.parametrize("case", recorded("artifacts"), ids=lambda case: case["printed"][70:110])
def test_whatever_an_artifact_prints_the_token_of_a_tools_answer_is_read(case: dict[str, str]) -> None:
    frame = token_frame(f"({case['printed']}, {{'langgraph_step': 1, 'langgraph_node': 'tools'}})")
    (token,) = Interpreter().interpret(frame).kinds
    assert (token.text, token.message_id, token.node) == (  # type: ignore[union-attr]
        case["text"],
        case["id"],
        "tools",
    )


@pytest.mark.parametrize("case", recorded("lists"), ids=lambda case: case["printed"][1:40])
def test_hostile_texts_and_tables_add_no_message_and_hide_none(case: dict[str, Any]) -> None:
    data = {"event_type": "on_state_update", "data": {"messages": case["printed"]}}
    (update,) = Interpreter().interpret(json.dumps(data).encode()).kinds
    assert isinstance(update, StateUpdate)
    assert [
        {
            "text": change.message.text,
            "id": change.message.id,
            "tool_call_id": change.message.tool_call_id,
            "calls": [[call.name, json.loads(call.arguments)] for call in change.message.tool_calls],
        }
        for change in update.messages
    ] == case["messages"]


def test_only_a_message_with_an_unreadable_part_is_marked() -> None:
    marks = [message.uninterpreted for message in read_list(HUMAN, tool_message(1, TABLE), DECOY)]
    assert marks == [False, True, False]


@pytest.mark.parametrize(
    "artifact", ["<object at 0x7f>", "array([1, 2])", "Row(name='a')", "<Cell 'x'>", "None"]
)
def test_an_artifact_in_a_regular_form_leaves_no_mark(artifact: str) -> None:
    (message,) = read_list(tool_message(1, artifact))
    assert not message.uninterpreted


def test_a_text_that_looks_like_the_end_of_a_message_makes_none() -> None:
    texts = ["[), AIMessage(content='x')]", "'), HumanMessage(content=\"", "', id='e'), X(content='"]
    listed = [f"AIMessage(content={text!r}, id='{number}')" for number, text in enumerate(texts)]
    assert [message.text for message in read_list(*listed)] == texts
    # After an irregular message, too.
    found = read_list(tool_message(1, TABLE), *listed)
    assert [message.text for message in found] == ["1 rows", *texts]


def test_messages_inside_an_artifact_are_not_the_agents() -> None:
    inner = "[HumanMessage(content='i1'), AIMessage(content='i2')]"
    found = read_list(HUMAN, tool_message(1, inner), tool_message(2, f"{{'m': {inner}, 't': it's}}"), HUMAN)
    assert [message.text for message in found] == ["go, (on", "1 rows", "2 rows", "go, (on"]


def test_arguments_around_an_unreadable_one_are_read() -> None:
    (message,) = read_list(
        f"AIMessage(content='x', additional_kwargs={{'t': {TABLE}}}, name='n', id='a', tool_calls=[])"
    )
    assert message == AgentMessage("a", Role.AI, "x", name="n", uninterpreted=True)


def test_a_tuple_of_messages_is_a_list() -> None:
    for text in (f"({HUMAN},)", f"({HUMAN}, {DECOY})", f"({HUMAN}, {tool_message(1, TABLE)}, {DECOY})"):
        body = state_frame("X").replace(b'"[X]"', json.dumps(text).encode())
        (update,) = Interpreter().interpret(body).kinds
        assert isinstance(update, StateUpdate)
        assert update.messages[0].message == read_list(HUMAN)[0]
        assert update.messages[-1].message in (read_list(HUMAN)[0], read_list(DECOY)[0])


def test_a_list_that_was_cut_short_has_its_whole_messages() -> None:
    whole = f"[{HUMAN}, {EMPTY}, {DECOY}]"
    for end in range(len(HUMAN) + 3, len(whole)):
        body = state_frame("X").replace(b'"[X]"', b'"' + whole[:end].replace('"', '\\"').encode() + b'"')
        (update,) = Interpreter().interpret(body).kinds
        assert isinstance(update, StateUpdate)
        assert update.messages[0].message == read_list(HUMAN)[0]


POISONS = st.sampled_from([case["printed"] for case in recorded("artifacts")]) | st.builds(
    tool_message, st.integers(0, 9), st.text("'\"()[]{}<>,=: \nab", max_size=12)
)
#: Texts with quotes, brackets and what looks like messages. They begin with a letter: if one began with a
#: closing bracket or a comma, a quote of the poison could find its partner in the quote before it.
TEXTS = st.text(max_size=12).map(lambda text: f"a{text}") | st.sampled_from(
    ["", "a), AIMessage(content='x')", "it's", "a(", "a[']", 'a"', "a\\'", "a'), HumanMessage(content=\""]
)
READABLE = st.builds(
    lambda kind, text, number: f"{kind}Message(content={text!r}, id='{number}')",
    st.sampled_from(["Human", "AI", "System"]),
    TEXTS,
    st.integers(0, 99),
) | st.builds(lambda text: f"AIMessage(content=[{{'type': 'text', 'text': {text!r}}}, {text!r}])", TEXTS)


@settings(max_examples=100)
@given(st.lists(READABLE, max_size=4), POISONS, st.lists(READABLE, max_size=4))
@example(["HumanMessage(content='')"], tool_message(1, "'"), ["AIMessage(content='')"])
@example([], tool_message(0, "'"), ["HumanMessage(content=\"a[']\", id='0')"])
def test_one_poisoned_message_anywhere_spoils_no_other(
    before: list[str], poison: str, after: list[str]
) -> None:
    found = read_list(*before, poison, *after)
    assert found[: len(before)] == [message for printed in before for message in read_list(printed)]
    # A poison that prints a whole message behind itself may add one; it takes none away.
    expected = [message for printed in after for message in read_list(printed)]
    assert found[len(found) - len(after) :] == expected


@settings(max_examples=50)
@given(st.lists(READABLE | POISONS, max_size=8))
def test_a_growing_list_is_read_like_a_whole_one(messages: list[str]) -> None:
    memory = Interpreter()
    state: dict[int, AgentMessage] = {}
    for upto in range(len(messages) + 1):
        (update,) = memory.interpret(state_frame(*messages[:upto])).kinds
        assert isinstance(update, StateUpdate)
        state |= {change.index: change.message for change in update.messages}
        state = {index: message for index, message in state.items() if index < update.message_count}
        assert [state[index] for index in range(len(state))] == read_list(*messages[:upto])


def event_bytes(count: int, artifact: str) -> int:
    """The size of the typed events of a run whose list grows by such a message in each frame."""
    interpreter, codec, size = Interpreter(), ProtobufCodec(), 0
    for upto in range(1, count + 1):
        listed = [tool_message(number, artifact) for number in range(upto)]
        for kind in interpreter.interpret(state_frame(*listed)).kinds:
            size += len(codec.encode(Event(upto, 1, datetime(2026, 1, 1, tzinfo=UTC), kind)))
    return size


@pytest.mark.parametrize("artifact", [TABLE, "(((", "'", ":) :)", "<Odd 'x>", "[1, 2, ..."])
def test_unreadable_messages_are_journalled_once(artifact: str) -> None:
    long = f"{'a b ' * 100} {artifact}"
    sizes = [event_bytes(count, long) for count in (50, 100, 200)]
    assert sizes[1] < 2.2 * sizes[0]
    assert sizes[2] < 2.2 * sizes[1]


@pytest.mark.parametrize(
    "cell", ["), AIMessage(content='x')", "), HumanMessage(content=[", "), AIMessage(content='x'), y"]
)
def test_a_table_that_looks_like_the_end_of_its_message_makes_none(cell: str) -> None:
    found = read_list(HUMAN, tool_message(1, f"  note\n0  it's\n1  {cell}\n2  b"), DECOY)
    assert [message.id for message in found] == ["h1", "t1", "a1"]


@pytest.mark.parametrize(
    "piece",
    [
        "X(content='', a=((), ",
        "X(content='',a=[X(content=''), ",
        "X(content='', a=it's), ",
        "), X(content=[",
        "X(content='', a='), ",
        "<a 'x>, ",
        "{'type': ",
        "[(",
        "X(content=\"', a='), ",
    ],
)
def test_long_hostile_lists_are_read_at_once(piece: str) -> None:
    """Quadratic work would take hours: the test's time limit ends it."""
    text = "[X(content='1'), " + piece * (400_000 // len(piece)) + "]"
    body = state_frame("X").replace(b'"[X]"', b'"' + text.replace('"', '\\"').encode() + b'"')
    assert len(Interpreter().interpret(body).kinds) == 1
