"""A sub-agent's state is never the agent's. LangGraph's stream parts are read where they are the agent's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.domain.journal.events import (
    FrameReason,
    InputRequested,
    Role,
    StateUpdate,
    Token,
    UpstreamFrame,
)
from server.frames.interpreter import Interpreter
from tests.unit.frames.printed_messages import token_frame

OWN = {"messages": "[HumanMessage(content='hi', id='1')]", "files": {"/own.md": "x"}}
OTHER = {"messages": "[HumanMessage(content='sub', id='9')]", "files": {"/sub.md": "y"}, "todos": []}


def frame(**members: Any) -> bytes:
    return json.dumps(members).encode()


def state_frame(data: Any, **beside: Any) -> bytes:
    return frame(event_type="on_state_update", data=data, **beside)


@pytest.mark.parametrize(
    "body",
    [
        state_frame(OTHER, ns=["tools:1"]),
        state_frame(OTHER, ns="tools:1"),
        state_frame(OTHER, namespace=["tools:1", "agent:2"]),
        state_frame(OTHER, checkpoint_ns="tools:1"),
        state_frame(OTHER, langgraph_checkpoint_ns="tools:1|model:2"),
        state_frame(OTHER, metadata={"langgraph_checkpoint_ns": "tools:1|model:2"}),
        state_frame({**OTHER, "langgraph_checkpoint_ns": "tools:1|model:2"}),
        state_frame({**OTHER, "ns": ["tools:1", "model:2"]}),
        state_frame({"ns": ["tools:1"], "data": OTHER}),
        state_frame({"namespace": ["tools:1"], "mode": "values", "data": OTHER}),
        state_frame([["tools:1"], "values", OTHER]),
        state_frame({"raw_event": str((("tools:1",), OTHER))}),
        state_frame(str((("tools:1",), "values", OTHER))),
        frame(event_type="on_('tools:1',)", data=OTHER),
        frame(event_type="on_state_update|tools:1", data=OTHER),
        frame(event_type="unknown", data={"raw_event": str((("tools:1",), "values", OTHER))}),
        frame(type="values", ns=["tools:1"], data=OTHER, interrupts=[]),
        frame(type="updates", ns=["tools:1"], data={"model": OTHER}),
        json.dumps([["tools:1"], "values", OTHER]).encode(),
    ],
)
def test_a_state_of_a_sub_agent_is_kept_as_it_came(body: bytes) -> None:
    interpreter = Interpreter()
    interpreter.interpret(state_frame(OWN))
    (kind,) = interpreter.interpret(body).kinds
    assert isinstance(kind, UpstreamFrame)
    assert kind.body == body
    assert interpreter.files.by_path.keys() == {"/own.md"}
    (update,) = interpreter.interpret(state_frame(OWN)).kinds
    assert update == StateUpdate(message_count=1)


@pytest.mark.parametrize("beside", [{"ns": []}, {"ns": None}, {"namespace": ""}, {"metadata": {"x": 1}}])
def test_a_state_in_the_namespace_of_the_agent_is_its_own(beside: dict[str, Any]) -> None:
    interpreter = Interpreter()
    interpreter.interpret(state_frame(OWN, **beside))
    assert interpreter.files.by_path.keys() == {"/own.md"}


def test_an_agents_own_state_may_have_a_member_of_that_name() -> None:
    interpreter = Interpreter()
    interpreter.interpret(state_frame({**OWN, "namespace": "production", "ns": 3}))
    assert interpreter.files.by_path.keys() == {"/own.md"}


def test_a_stream_part_of_the_agent_is_its_state() -> None:
    steady, restored = Interpreter(), Interpreter()
    interrupt = [{"value": {"question": "Which?"}, "id": "1"}]
    meaning = steady.interpret(frame(type="values", ns=[], data=OWN, interrupts=interrupt))
    update, request = meaning.kinds
    assert isinstance(update, StateUpdate)
    assert [change.message.text for change in update.messages] == ["hi"]
    assert request == InputRequested(json.dumps(interrupt), "1")
    restored.restore(update, meaning.delta)
    restored.restore(request, b"")
    assert restored.files == steady.files
    assert restored.awaiting_input
    again = frame(type="values", ns=[], data={**OWN, "todos": []}, interrupts=interrupt)
    assert restored.interpret(again) == steady.interpret(again)


def test_a_stream_part_with_a_piece_of_a_message_is_a_token() -> None:
    message = {"type": "AIMessageChunk", "content": "a", "id": "m", "tool_call_chunks": []}
    metadata = {"langgraph_node": "model", "langgraph_checkpoint_ns": "model:1"}
    (token,) = Interpreter().interpret(frame(type="messages", ns=[], data=[message, metadata])).kinds
    assert token == Token("m", Role.AI, "a", node="model")


@pytest.mark.parametrize(
    "body",
    [
        frame(type="messages", ns=[], data=["x", {"langgraph_node": "model"}]),
        frame(type="custom", ns=[], data={"files": {"/a": "x"}}),
        frame(type="values", data={"files": {"/a": "x"}}),
        frame(type="values", ns=[], data="{'files': {}}"),
    ],
)
def test_other_stream_parts_are_kept_as_they_came(body: bytes) -> None:
    interpreter = Interpreter()
    assert interpreter.interpret(body).kinds == (UpstreamFrame("", FrameReason.MALFORMED, body),)
    assert not interpreter.files.seen


@pytest.mark.parametrize(
    ("before", "sub_agent"),
    [
        ("('tools:1',), ", "tools:1"),
        ("('tools:1',), 'messages', ", "tools:1"),
        ("('tools:1', 'tools:2'), ", "tools:1|tools:2"),
        ("(), ", ""),
        ("(), 'messages', ", ""),
        ("(3,), ", ""),
        ("(<Odd>,), ", ""),
    ],
)
def test_a_piece_with_a_namespace_before_it_is_its_sub_agents(before: str, sub_agent: str) -> None:
    pair = "(AIMessageChunk(content='a', id='m'), {'langgraph_node': 'model'})"
    interpreter = Interpreter()
    own = interpreter.interpret(token_frame(pair)).kinds
    (token,) = interpreter.interpret(token_frame(f"({before}{pair})")).kinds
    assert token == Token("m", Role.AI, "a", node="model", namespace=sub_agent)
    assert interpreter.interpret(token_frame(pair)).kinds == own


@pytest.mark.parametrize(
    ("before", "sub_agent"), [([["tools:1"]], "tools:1"), ([["a", "b"], "messages"], "a|b"), ([[3]], "")]
)
def test_a_piece_in_json_with_a_namespace_before_it_is_its_sub_agents(
    before: list[Any], sub_agent: str
) -> None:
    pair = [{"type": "AIMessageChunk", "content": "a", "id": "m"}, {"langgraph_node": "model"}]
    for data in ([*before, pair], {"raw_event": [*before, pair]}):
        (token,) = Interpreter().interpret(frame(event_type="on_llm_stream", data=data)).kinds
        assert token == Token("m", Role.AI, "a", node="model", namespace=sub_agent)


def test_the_metadata_of_a_piece_name_its_sub_agent_before_the_namespace_beside_it() -> None:
    pair = "(AIMessageChunk(content='a'), {'langgraph_checkpoint_ns': 'tools:1|tools:2|model:3'})"
    (token,) = Interpreter().interpret(token_frame(f"(('tools:1',), {pair})")).kinds
    assert token == Token("", Role.AI, "a", namespace="tools:1|tools:2")


@pytest.mark.parametrize("raw", ["(())", "((", "((('a',)))"])
def test_a_text_in_brackets_that_is_not_a_piece_is_kept(raw: str) -> None:
    (token,) = Interpreter().interpret(token_frame(raw)).kinds
    assert isinstance(token, Token)
    assert token.uninterpreted


@pytest.mark.parametrize(
    ("namespace", "sub_agent"),
    [
        ("model:1", ""),
        ("", ""),
        ("tools:1|model:2", "tools:1"),
        ("tools:1|tools:2|model:3", "tools:1|tools:2"),
    ],
)
def test_a_token_has_the_namespace_of_its_sub_agent(namespace: str, sub_agent: str) -> None:
    metadata = {"langgraph_node": "model", "langgraph_checkpoint_ns": namespace}
    (token,) = Interpreter().interpret(token_frame(f"(AIMessageChunk(content='a'), {metadata!r})")).kinds
    assert token == Token("", Role.AI, "a", node="model", namespace=sub_agent)
