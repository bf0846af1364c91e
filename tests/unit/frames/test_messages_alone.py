"""Messages that are printed alone, with `repr` or `str`, and not as an item of a list or a pair."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.domain.journal.events import AgentMessage, Role, StateUpdate, Token, ToolCall, ToolCallPiece
from server.frames.interpreter import Interpreter

#: What the framework prints: the fields of a message, and the message that they are.
FIELDS = {
    "HumanMessage": (
        ['content="it\'s x=1 (y"', "additional_kwargs={}", "response_metadata={}", "id='1'"],
        AgentMessage(id="1", role=Role.HUMAN, text="it's x=1 (y"),
    ),
    "AIMessage": (
        [
            "content=[{'type': 'text', 'text': 'A b'}]",
            "id='2'",
            "tool_calls=[{'name': 'w', 'args': {'a': 'b c'}, 'id': 'c', 'type': 'tool_call'}]",
            "invalid_tool_calls=[]",
        ],
        AgentMessage(id="2", role=Role.AI, text="A b", tool_calls=(ToolCall("c", "w", '{"a": "b c"}'),)),
    ),
    "ToolMessage": (
        ["content='r'", "name='w'", "id='3'", "tool_call_id='c'", "status='error'"],
        AgentMessage(id="3", role=Role.TOOL, text="r", name="w", tool_call_id="c", status="error"),
    ),
}
PIECE = [
    'content="it\'s"',
    "additional_kwargs={}",
    "id='r'",
    "tool_call_chunks=[{'name': 'a', 'args': '{', 'id': '1', 'index': 0, 'type': 'tool_call_chunk'}]",
]
METADATA = "{'langgraph_node': 'model'}"


def messages_of(value: Any) -> list[AgentMessage]:
    frame = json.dumps({"event_type": "on_state_update", "data": {"messages": value}}).encode()
    (update,) = Interpreter().interpret(frame).kinds
    assert isinstance(update, StateUpdate)
    return [change.message for change in update.messages]


def token_of(raw: str) -> Token:
    frame = json.dumps({"event_type": "on_llm_stream", "data": {"raw_event": raw}}).encode()
    (token,) = Interpreter().interpret(frame).kinds
    assert isinstance(token, Token)
    return token


def with_name(name: str, fields: list[str]) -> str:
    return f"{name}({', '.join(fields)})"


def test_a_list_of_printed_messages_has_the_messages() -> None:
    expected = [message for _, message in FIELDS.values()]
    assert messages_of([with_name(name, fields) for name, (fields, _) in FIELDS.items()]) == expected


@pytest.mark.parametrize("name", ["AIMessage", "ToolMessage"])
def test_without_its_class_name_a_message_is_known_by_its_fields(name: str) -> None:
    fields, expected = FIELDS[name]
    assert messages_of([" ".join(fields)]) == [expected]


def test_without_its_class_name_and_fields_of_one_class_a_message_has_no_role() -> None:
    (message,) = messages_of([" ".join(FIELDS["HumanMessage"][0])])
    assert message == AgentMessage(id="1", text="it's x=1 (y")


@pytest.mark.parametrize("name", FIELDS)
def test_a_single_printed_message_is_a_list_of_one(name: str) -> None:
    fields, expected = FIELDS[name]
    assert messages_of(with_name(name, fields)) == [expected]


PRINTED = [with_name(name, fields) for name, (fields, _) in FIELDS.items()]
EXPECTED = [message for _, message in FIELDS.values()]
#: How classes that are lists print what they hold.
LIST_CLASSES = [
    *("deque({})", "deque({}, maxlen=9)", "collections.deque({})", "MessageList({})", "Messages(root={})"),
    *("odict_values({})", "array({}, dtype=object)", "FrozenList({}, frozen=True)"),
]


@pytest.mark.parametrize("form", LIST_CLASSES)
def test_what_a_class_like_list_prints_is_a_list(form: str) -> None:
    assert messages_of(form.format(f"[{', '.join(PRINTED)}]")) == EXPECTED
    assert messages_of(form.format(f"[{PRINTED[0]}]")) == EXPECTED[:1]
    assert messages_of(form.format("[]")) == []
    table = "ToolMessage(content='r', artifact=it's | a [table, id='3')"
    assert messages_of(form.format(f"[{table}, {PRINTED[0]}]"))[1:] == EXPECTED[:1]


def test_a_list_of_a_class_that_grows_is_read_like_a_whole_one() -> None:
    interpreter = Interpreter()
    for count in range(1, 4):
        value = f"deque([{', '.join(PRINTED[:count])}])"
        frame = json.dumps({"event_type": "on_state_update", "data": {"messages": value}}).encode()
        (update,) = interpreter.interpret(frame).kinds
        assert isinstance(update, StateUpdate)
        assert update.message_count == count
        assert [change.message for change in update.messages] == EXPECTED[count - 1 : count]


@pytest.mark.parametrize("form", ["{}", *LIST_CLASSES])
def test_a_printed_list_of_the_texts_of_messages_has_the_messages(form: str) -> None:
    texts = [" ".join(FIELDS[name][0]) for name in ("AIMessage", "ToolMessage")]
    assert messages_of(form.format(repr(texts))) == EXPECTED[1:]
    assert messages_of(form.format(repr(PRINTED))) == EXPECTED
    mixed = f"[{PRINTED[0]}, {texts[0]!r}, {texts[1]!r}]"
    assert messages_of(form.format(mixed)) == EXPECTED
    assert messages_of(form.format(repr([*texts, "hello"])))[2:] == [
        AgentMessage(text="hello", uninterpreted=True)
    ]


#: One message as an object, and what it is.
OBJECTS: list[tuple[dict[str, Any], AgentMessage]] = [
    ({"type": "ai", "content": "x", "id": "1"}, AgentMessage("1", Role.AI, "x")),
    ({"role": "user", "content": "it's"}, AgentMessage(role=Role.HUMAN, text="it's")),
    (
        {"type": "tool", "data": {"content": "r", "tool_call_id": "c"}},
        AgentMessage(role=Role.TOOL, text="r", tool_call_id="c"),
    ),
    ({"lc": 1, "id": ["x", "AIMessage"], "kwargs": {"content": "x"}}, AgentMessage(role=Role.AI, text="x")),
]


@pytest.mark.parametrize(("value", "message"), OBJECTS)
def test_one_message_as_an_object_is_a_list_of_one(value: dict[str, Any], message: AgentMessage) -> None:
    assert messages_of(value) == messages_of([value]) == [message]
    assert messages_of(repr(value)) == messages_of([repr(value)]) == [message]


@pytest.mark.parametrize(
    "value", [{}, {"content": "x"}, {"type": "ai"}, {"0": {"type": "ai", "content": "x"}}]
)
def test_another_object_is_no_message_and_kept_as_it_came(value: dict[str, Any]) -> None:
    frame = json.dumps({"event_type": "on_state_update", "data": {"messages": value}}).encode()
    (update,) = Interpreter().interpret(frame).kinds
    assert isinstance(update, StateUpdate)
    assert (update.message_count, json.loads(update.extra["messages"])) == (0, value)


@pytest.mark.parametrize(
    "text",
    [
        "a plain sentence",
        "print([1, 2])",
        "deque([1, 2])",
        "deque(['a', 'b'])",
        "deque([AIMessage(content='x')]) and more",
        "['a', 'b']",
        "{'a': 1}",
        "{it's",
        "print(content='x')",
        "content= is missing",
        "content='x' and more",
        "content='x",
        "content=['x'",
        "content='x'id='1'",
        "AIMessage(x)",
        "",
    ],
)
def test_another_text_is_not_a_message(text: str) -> None:
    assert messages_of([text]) == messages_of(text) == [AgentMessage(text=text, uninterpreted=True)]


@pytest.mark.parametrize(
    ("raw", "node"),
    [
        (f"({with_name('AIMessageChunk', PIECE)}, {METADATA})", "model"),
        (f"[{with_name('AIMessageChunk', PIECE)}, {METADATA}]", "model"),
        (with_name("AIMessageChunk", PIECE), ""),
        (" ".join(PIECE), ""),
    ],
)
def test_a_piece_is_read_with_and_without_its_metadata_and_its_class_name(raw: str, node: str) -> None:
    assert token_of(raw) == Token("r", Role.AI, "it's", (ToolCallPiece(0, "1", "a", "{"),), node)


@pytest.mark.parametrize(
    "raw", ["plain text", "[1, 2]", "[]", "[", "content=", "content=(", "print(1)", "(("]
)
def test_another_text_is_a_piece_of_text(raw: str) -> None:
    assert token_of(raw) == Token(text=raw, uninterpreted=True)
