"""A member of a message that has an odd element costs that element alone."""

from __future__ import annotations

import pytest

from server.domain.journal.events import (
    AgentMessage,
    InvalidToolCall,
    Role,
    Token,
    TokenUsage,
    ToolCall,
    ToolCallPiece,
)
from server.frames.interpreter import Interpreter
from tests.unit.frames.printed_messages import read_list, token_frame

CALL = "{'name': 'g', 'args': {'a': 1}, 'id': 'c2'}"
READ = ToolCall("c2", "g", '{"a": 1}')


@pytest.mark.parametrize(
    ("listed", "calls", "invalid"),
    [
        (f"[5, {CALL}]", [READ], [InvalidToolCall("", "", "5", "")]),
        (f"[{CALL}, None]", [READ], []),
        (f"['x', {CALL}]", [READ], [InvalidToolCall("", "", "x", "")]),
        (f"[[{CALL}], {CALL}]", [READ], [InvalidToolCall("", "", f"[{CALL}]".replace("'", '"'), "")]),
        (f"[<Odd>, {CALL}]", [READ], [InvalidToolCall("", "", "<Odd>", "")]),
        (
            f"[{{'name': 'n', 'args': None, 'id': None}}, {CALL}]",
            [ToolCall("", "n", ""), READ],
            [],
        ),
        (
            f"[{{'name': <N>, 'args': [1], 'id': 7}}, {CALL}]",
            [ToolCall("7", "<N>", "[1]"), READ],
            [],
        ),
        (f"[{{}}, {CALL}]", [ToolCall("", "", "{}"), READ], []),
        ("5", [], [InvalidToolCall("", "", "5", "")]),
        ("<Odd>", [], [InvalidToolCall("", "", "<Odd>", "")]),
        (CALL, [READ], []),
        ("None", [], []),
    ],
)
def test_an_odd_tool_call_costs_itself(
    listed: str, calls: list[ToolCall], invalid: list[InvalidToolCall]
) -> None:
    found = read_list(f"AIMessage(content='t', id='a', tool_calls={listed})", "AIMessage(content='z')")
    assert found == [
        AgentMessage("a", Role.AI, "t", tuple(calls), invalid_tool_calls=tuple(invalid)),
        AgentMessage(role=Role.AI, text="z"),
    ]


@pytest.mark.parametrize(
    ("listed", "invalid"),
    [
        (
            "[{'name': 'n', 'args': '{', 'id': 'i', 'error': ValueError('E')}]",
            ("i", "n", "{", "ValueError('E')"),
        ),
        (
            "[{'name': <N>, 'args': <A it>, 'id': 'i', 'error': {'at': 1}}]",
            ("i", "<N>", "<A it>", '{"at": 1}'),
        ),
        ("[None, 'broken']", ("", "", "broken", "")),
        ("<Odd>", ("", "", "<Odd>", "")),
    ],
)
def test_an_invalid_tool_call_has_what_it_says_in_whatever_form(
    listed: str, invalid: tuple[str, str, str, str]
) -> None:
    (message,) = read_list(f"AIMessage(content='', invalid_tool_calls={listed})")
    assert message == AgentMessage(role=Role.AI, invalid_tool_calls=(InvalidToolCall(*invalid),))


def test_a_message_whose_content_is_none_is_a_message_without_text() -> None:
    assert read_list("HumanMessage(content=None, id='1')", "AIMessage(content=[None, 'a'], id='2')") == [
        AgentMessage("1", Role.HUMAN),
        AgentMessage("2", Role.AI, "a"),
    ]


@pytest.mark.parametrize("usage", ["<Odd>", "5", "[1]", "{'input_tokens': <Odd>}"])
def test_a_usage_that_cannot_be_read_costs_itself(usage: str) -> None:
    (message,) = read_list(f"AIMessage(content='x', id='a', usage_metadata={usage})")
    assert message == AgentMessage("a", Role.AI, "x", usage=TokenUsage() if "{" in usage else None)


def test_an_odd_piece_of_a_tool_call_costs_itself() -> None:
    chunk = "{'name': 'f', 'args': '{', 'id': 'c', 'index': 0}"
    raw = f"(AIMessageChunk(content='t', id='m', tool_call_chunks=[5, {chunk}]), {{}})"
    (token,) = Interpreter().interpret(token_frame(raw)).kinds
    calls = (ToolCallPiece(0, "c", "f", "{"),)
    assert token == Token("m", Role.AI, "t", calls, uninterpreted=True)
