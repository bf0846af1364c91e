"""Content: text is text, and everything else is typed."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest

from server.domain.journal.content import (
    MAX_MEDIA_BYTES,
    Citation,
    ContentKind,
    ContentPart,
    Media,
    OtherContent,
    Refusal,
    ServerToolCall,
    ServerToolResult,
    Thinking,
)
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
from tests.unit.frames.printed_messages import message_of, read_list, recorded, token_frame

HI = Media("image", "image/png", data=b"hi", size_bytes=2, sha256=sha256(b"hi").hexdigest())


def part_of(block: Any) -> ContentKind:
    """What a block becomes beside the text."""
    message = message_of(content=["a", block, "b"])
    assert message.text == "ab"
    assert not message.uninterpreted
    (part,) = message.parts
    return part.kind


@pytest.mark.parametrize("case", recorded("contents"), ids=lambda case: case["content"][:50])
def test_the_text_is_the_frameworks_own(case: dict[str, str]) -> None:
    (message,) = read_list(f"AIMessage(content={case['content']}, id='1')")
    assert message.text == case["text"]
    assert not message.uninterpreted


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        ({"type": "thinking", "thinking": "t", "signature": "s"}, Thinking("t", "s")),
        ({"type": "thinking", "signature": "s"}, Thinking("", "s")),
        ({"type": "redacted_thinking", "data": "x"}, Thinking(redacted="x")),
        ({"type": "reasoning", "reasoning": "r", "extras": {"signature": "s"}}, Thinking("r", "s")),
        ({"type": "reasoning", "id": "rs_1", "summary": [{"text": "a"}, {"text": "b"}]}, Thinking("a\n\nb")),
        ({"type": "reasoning", "encrypted_content": "x", "summary": []}, Thinking(redacted="x")),
        (
            {"type": "reasoning_content", "reasoning_content": {"text": "r", "signature": "s"}},
            Thinking("r", "s"),
        ),
        ({"type": "reasoning", "summary": [], "content": [{"text": "r"}]}, Thinking("r")),
        ({"type": "reasoning", "summary": [{"text": "s"}], "content": [{"text": "r"}]}, Thinking("s\n\nr")),
        (
            {"type": "reasoning", "summary": [], "content": [{"text": "r"}], "encrypted_content": "x"},
            Thinking("r", redacted="x"),
        ),
        ({"type": "reasoning", "summary": ["a", {"text": "b"}]}, Thinking("a\n\nb")),
        ({"type": "reasoning", "summary": "s"}, Thinking("s")),
        ({"type": "reasoning", "text": "r"}, Thinking("r")),
        ({"type": "reasoning", "thinking": "r", "reasoning": "r"}, Thinking("r")),
        ({"type": "reasoning", "id": "rs_1", "summary": []}, Thinking()),
        ({"type": "thinking", "text": "t"}, Thinking("t")),
        ({"type": "thinking", "thinking": [{"type": "text", "text": "a"}, {"text": "b"}]}, Thinking("ab")),
        ({"type": "redacted_thinking", "thinking": "t"}, Thinking("t")),
        ({"type": "reasoning_content", "reasoning_content": "r"}, Thinking("r")),
        (
            {
                "type": "reasoning_content",
                "reasoningContent": {"reasoningText": {"text": "r", "signature": "s"}},
            },
            Thinking("r", "s"),
        ),
        ({"type": "reasoning", "reasoning": None, "extras": {"k": "v"}}, None),
        ({"type": "reasoning", "summary": 3}, None),
        ({"type": "refusal", "refusal": "no"}, Refusal("no")),
        ({"type": "refusal", "text": "no"}, None),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}, HI),
        (
            {"type": "image_url", "image_url": "https://a.example/p"},
            Media("image", url="https://a.example/p"),
        ),
        ({"type": "image", "base64": "aGk=", "mime_type": "image/png"}, HI),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
            HI,
        ),
        ({"type": "image", "source_type": "base64", "data": "aGk=", "mime_type": "image/png"}, HI),
        ({"type": "media", "mime_type": "image/png", "data": "aGk="}, HI),
        ({"type": "image", "file_id": "f1"}, Media("image", file_id="f1")),
        (
            {"type": "video", "url": "https://a.example/v", "mime_type": "video/mp4"},
            Media("video", "video/mp4", "https://a.example/v"),
        ),
        (
            {"type": "document", "source": {"type": "url", "url": "https://a.example/d"}},
            Media("file", url="https://a.example/d"),
        ),
        ({"type": "file", "file": {"file_id": "f2"}}, Media("file", file_id="f2")),
        (
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}},
            ServerToolCall("s", "web_search", '{"q": 1}'),
        ),
        (
            {"type": "server_tool_call", "id": "s", "name": "code", "args": {}},
            ServerToolCall("s", "code", ""),
        ),
        (
            {"type": "server_tool_use", "id": "s", "tool": "t", "arguments": {"q": "a"}},
            ServerToolCall("s", "t", '{"q": "a"}'),
        ),
        ({"type": "server_tool_use", "do": "x"}, None),
        (
            {"type": "server_tool_result", "tool_call_id": "s", "result": "r"},
            ServerToolResult("s", "", '"r"'),
        ),
        ({"type": "server_tool_result", "found": "x"}, None),
        (
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u"}]},
            ServerToolResult("s", "", '[{"url": "u"}]'),
        ),
        (
            {
                "type": "web_search_tool_result",
                "tool_use_id": "s",
                "content": {"type": "web_search_tool_result_error"},
            },
            ServerToolResult("s", "error", '{"type": "web_search_tool_result_error"}'),
        ),
        (
            {"type": "server_tool_result", "tool_call_id": "s", "status": "success", "output": 1},
            ServerToolResult("s", "success", "1"),
        ),
        (
            {"type": "mcp_tool_result", "tool_use_id": "s", "is_error": True},
            ServerToolResult("s", "error", ""),
        ),
        ({"type": "image", "base64": "not Base64"}, None),
        ({"type": "thinking", "thinking": 3}, None),
        ({"type": "redacted_thinking"}, None),
        ({"type": "non_standard", "value": {"a": 1}}, None),
        ({"type": "tool_use", "id": "c", "input": {}}, None),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, None),
        ({"type": "text", "text": None}, None),
        ({"text": "without a type"}, None),
        ({}, None),
    ],
)
def test_a_block_that_is_not_text_has_its_kind(block: dict[str, Any], kind: ContentKind | None) -> None:
    other = OtherContent(block.get("type", ""), json.dumps(block))
    assert part_of(block) == (other if kind is None else kind)


def test_what_a_text_has_beside_it_is_a_part_without_its_id() -> None:
    block = {"type": "text", "text": "", "id": "msg_1", "index": 0, "extras": {"signature": "s"}}
    assert part_of(block) == OtherContent("text", '{"extras": {"signature": "s"}}')
    assert message_of(content=[{"type": "text", "text": "a", "id": "m", "annotations": []}]).parts == ()


def test_the_sources_of_a_text_are_beside_it() -> None:
    source = {"type": "char_location", "cited_text": "c", "document_title": "D"}
    assert part_of({"type": "text", "text": "", "citations": [source]}) == Citation(
        "", "D", "c", json.dumps(source)
    )
    link = {"type": "citation", "url": "https://a.example/", "title": "A"}
    assert part_of({"type": "text", "text": "", "annotations": [link]}) == Citation(
        "https://a.example/", "A", "", json.dumps(link)
    )


def test_large_media_are_described_and_not_held() -> None:
    content = "A" * (MAX_MEDIA_BYTES // 3 * 4 + 4)
    kind = part_of({"type": "image", "base64": content, "mime_type": "image/png"})
    assert isinstance(kind, Media)
    assert (kind.data, kind.size_bytes) == (b"", MAX_MEDIA_BYTES // 3 * 3 + 3)
    assert kind.sha256


def test_a_part_has_the_name_of_its_block() -> None:
    blocks = [{"type": "thinking", "thinking": "a", "index": index} for index in (0, "lc_rs_1", None, True)]
    assert [part.block for part in message_of(content=blocks).parts] == ["0", "lc_rs_1", "", ""]


def test_thoughts_and_a_refusal_beside_the_content_are_parts() -> None:
    message = message_of(content="x", additional_kwargs={"reasoning_content": "r", "refusal": "no"})
    assert (message.text, message.parts) == ("x", (ContentPart(Thinking("r")), ContentPart(Refusal("no"))))


@pytest.mark.parametrize(
    ("beside", "parts"),
    [
        ({"reasoning": "r"}, [ContentPart(Thinking("r"))]),
        ({"reasoning": {"summary": [{"index": 0, "text": "r"}]}}, [ContentPart(Thinking("r"))]),
        ({"reasoning": {"id": "rs", "summary": ["r"]}}, [ContentPart(Thinking("r"), extra='{"id": "rs"}')]),
        ({"reasoning": {"content": [{"text": "r"}]}}, [ContentPart(Thinking("r"))]),
        ({"reasoning": ["a", {"text": "b"}]}, [ContentPart(Thinking("a")), ContentPart(Thinking("b"))]),
        ({"reasoning": {"odd": "x"}}, [ContentPart(OtherContent("reasoning", '{"odd": "x"}'))]),
        ({"reasoning": 5}, [ContentPart(OtherContent("reasoning", "5"))]),
        ({"reasoning": None, "refusal": "", "audio": None, "citations": []}, []),
        ({"reasoning_content": [{"type": "text", "text": "r"}]}, [ContentPart(Thinking("r"))]),
        ({"thinking": {"text": "t", "signature": "s"}}, [ContentPart(Thinking("t", "s"))]),
        ({"thinking": "t"}, [ContentPart(Thinking("t"))]),
        (
            {
                "reasoning": "ab",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "a", "signature": "s", "index": 0},
                    {"type": "reasoning.summary", "summary": "b"},
                    {"type": "reasoning.encrypted", "data": "x"},
                ],
            },
            [
                ContentPart(Thinking("a", "s"), "reasoning_details.0"),
                ContentPart(Thinking("b")),
                ContentPart(Thinking(redacted="x")),
            ],
        ),
        ({"reasoning_content": "r", "reasoning": "r"}, [ContentPart(Thinking("r"))]),
        (
            {"reasoning_content": "r", "reasoning": "q"},
            [ContentPart(Thinking("r")), ContentPart(Thinking("q"))],
        ),
        (
            {"annotations": [{"type": "url_citation", "url_citation": {"url": "u", "title": "t"}}]},
            [
                ContentPart(
                    Citation(
                        "u", "t", "", '{"type": "url_citation", "url_citation": {"url": "u", "title": "t"}}'
                    )
                )
            ],
        ),
        (
            {"citations": ["https://a.example/", "[1]"]},
            [
                ContentPart(Citation("https://a.example/", "", "", '"https://a.example/"')),
                ContentPart(OtherContent("citation", '"[1]"')),
            ],
        ),
        (
            {"audio": {"id": "a1", "transcript": "said"}},
            [ContentPart(Media("audio", file_id="a1"), extra='{"transcript": "said"}')],
        ),
        (
            {"audio": {"data": "not Base64"}},
            [ContentPart(OtherContent("audio", '{"data": "not Base64", "type": "audio"}'))],
        ),
        ({"tool_calls": [{"id": "c"}], "odd": "x"}, []),
    ],
)
def test_what_is_beside_the_content_of_a_message_and_its_pieces_has_its_kind(
    beside: dict[str, Any], parts: list[ContentPart]
) -> None:
    assert message_of(content="x", additional_kwargs=beside).parts == tuple(parts)
    raw = f"(AIMessageChunk(content='x', additional_kwargs={beside!r}), {{}})"
    (token,) = Interpreter().interpret(token_frame(raw)).kinds
    assert token == Token("", Role.AI, "x", parts=tuple(parts))


def test_a_block_that_cannot_be_read_costs_itself() -> None:
    (message,) = read_list(
        "AIMessage(content=['a', {'type': 'x', 'y': <object at 0x1>}, <Odd>, {'type': 'text', 'text': 'b'}])"
    )
    assert message == AgentMessage(
        role=Role.AI,
        text="ab",
        parts=(
            ContentPart(OtherContent("x", '{"type": "x", "y": "<object at 0x1>"}')),
            ContentPart(OtherContent("", '"<Odd>"')),
        ),
    )


def test_an_argument_that_cannot_be_read_costs_itself() -> None:
    (message,) = read_list(
        "AIMessage(content='', tool_calls=[{'name': 'f', 'args': {'a': <object at 0x1>, 'b': (1, None), "
        "'c': nan, 'd': datetime.date(2026, 1, 2), 'e': {1, 2}, 3: b'x'}, 'id': 'c1'}, {'name': 'g', "
        "'args': <Odd>, 'id': 'c2'}])"
    )
    first, second = message.tool_calls
    assert json.loads(first.arguments) == {
        "a": "<object at 0x1>",
        "b": [1, None],
        "c": "nan",
        "d": "datetime.date(2026, 1, 2)",
        "e": "{1, 2}",
        "3": "b'x'",
    }
    assert second == ToolCall("c2", "g", "<Odd>")


def test_a_call_that_could_not_be_parsed_and_a_tools_error_are_visible() -> None:
    call = {"name": "write", "args": '{"a', "id": "c1", "error": "Unterminated string"}
    model, tool = read_list(
        f"AIMessage(content='', tool_calls=[], invalid_tool_calls=[{call!r}, {dict.fromkeys(call)!r}])",
        "ToolMessage(content='bad', name='write', tool_call_id='c1', status='error')",
    )
    assert model.invalid_tool_calls == (
        InvalidToolCall("c1", "write", '{"a', "Unterminated string"),
        InvalidToolCall("", "", "", ""),
    )
    assert tool.status == "error"
    raw = "(ToolMessage(content='bad', tool_call_id='c1', status='error'), {'langgraph_node': 'tools'})"
    (token,) = Interpreter().interpret(token_frame(raw)).kinds
    assert isinstance(token, Token)
    assert token.status == "error"


def test_a_message_has_its_usage() -> None:
    details = {"input_token_details": {"cache_read": 4}, "output_token_details": {"reasoning": 5}}
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, **details}
    assert message_of(content="x", usage_metadata=usage).usage == TokenUsage(1, 2, 3, 4, 5)
    odd = {"input_tokens": -1, "output_tokens": "2", "total_tokens": None, "input_token_details": 3}
    assert message_of(content="x", usage_metadata=odd).usage == TokenUsage()
    assert message_of(content="x", usage_metadata=None).usage is None


def test_messages_of_other_classes_have_their_role_and_name() -> None:
    assert read_list(
        "HumanMessage(content='a', name='Ann')",
        "ChatMessage(content='b', role='assistant')",
        "ChatMessage(content='c', role='critic')",
        "FunctionMessage(content='d', name='f')",
        "RemoveMessage(content='', id='9')",
        "my.app.AIMessage(content='e')",
        "{'role': 'user', 'content': 'f'}",
        "('human', 'g')",
    ) == [
        AgentMessage(role=Role.HUMAN, text="a", name="Ann"),
        AgentMessage(role=Role.AI, text="b", name="assistant"),
        AgentMessage(text="c", name="critic"),
        AgentMessage(role=Role.TOOL, text="d", name="f"),
        AgentMessage("9", parts=(ContentPart(OtherContent("remove", '"9"')),)),
        AgentMessage(role=Role.AI, text="e"),
        AgentMessage(role=Role.HUMAN, text="f"),
        AgentMessage(role=Role.HUMAN, text="g"),
    ]


@pytest.mark.parametrize(
    "value",
    [
        {"type": "ai", "content": "x", "id": "1", "tool_calls": [{"name": "f", "args": {"a": 1}, "id": "c"}]},
        {
            "type": "ai",
            "data": {"content": "x", "id": "1", "tool_calls": [{"name": "f", "args": {"a": 1}, "id": "c"}]},
        },
        {
            "lc": 1,
            "type": "constructor",
            "id": ["langchain", "schema", "messages", "AIMessage"],
            "kwargs": {
                "content": [{"type": "text", "text": "x"}],
                "id": "1",
                "tool_calls": [{"name": "f", "args": {"a": 1}, "id": "c"}],
            },
        },
        {
            "role": "assistant",
            "content": "x",
            "id": "1",
            "tool_calls": [
                {"type": "function", "id": "c", "function": {"name": "f", "arguments": '{"a": 1}'}}
            ],
        },
        {
            "role": "assistant",
            "id": "1",
            "content": [
                {"type": "text", "text": "x"},
                {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
            ],
        },
    ],
)
def test_the_json_forms_of_a_message_are_one(value: dict[str, Any]) -> None:
    expected = AgentMessage("1", Role.AI, "x", (ToolCall("c", "f", '{"a": 1}'),))
    body = json.dumps({"event_type": "on_state_update", "data": {"messages": [value]}}).encode()
    (update,) = Interpreter().interpret(body).kinds
    assert [change.message for change in update.messages] == [expected]  # type: ignore[union-attr]
    for data in ({"raw_event": [value, {"langgraph_node": "model"}]}, [value, {"langgraph_node": "model"}]):
        body = json.dumps({"event_type": "on_llm_stream", "data": data}).encode()
        (token,) = Interpreter().interpret(body).kinds
        calls = (ToolCallPiece(0, "c", "f", '{"a": 1}'),)
        assert token == Token("1", Role.AI, "x", calls, node="model", last=True)


# Streams.


def tokens_of(stream: dict[str, Any]) -> list[Token]:
    interpreter = Interpreter()
    kinds = [interpreter.interpret(token_frame(piece)).kinds for piece in stream["pieces"]]
    tokens = [kind for (kind,) in kinds if isinstance(kind, Token)]
    assert len(tokens) == len(kinds)
    assert not any(token.uninterpreted for token in tokens)
    return tokens


@pytest.mark.parametrize("stream", recorded("streams"), ids=lambda stream: stream["stream"])
def test_the_pieces_of_a_message_add_up_to_it(stream: dict[str, Any]) -> None:
    tokens = tokens_of(stream)
    assert "".join(token.text for token in tokens) == stream["text"]
    (message,) = read_list(stream["message"])
    assert message.text == stream["text"]
    calls: dict[int, list[str]] = {}
    for piece in (piece for token in tokens for piece in token.tool_calls):
        call = calls.setdefault(piece.index, ["", "", ""])
        call[:] = [piece.id or call[0], piece.name or call[1], call[2] + piece.arguments]
    assert [
        {"id": call_id, "name": name, "arguments": json.loads(arguments)}
        for call_id, name, arguments in calls.values()
    ] == stream["calls"]


@pytest.mark.parametrize("stream", recorded("streams"), ids=lambda stream: stream["stream"])
def test_the_thoughts_in_the_pieces_add_up_to_the_messages(stream: dict[str, Any]) -> None:
    def thoughts(parts: list[ContentPart]) -> str:
        return "".join(part.kind.text for part in parts if isinstance(part.kind, Thinking))

    (message,) = read_list(stream["message"])
    pieces = [part for token in tokens_of(stream) for part in token.parts]
    assert thoughts(pieces) == thoughts(list(message.parts))


def test_the_arguments_of_a_providers_tool_add_up() -> None:
    (stream,) = [case for case in recorded("streams") if "search" in case["stream"]]
    calls = [
        (part.block, part.kind)
        for token in tokens_of(stream)
        for part in token.parts
        if isinstance(part.kind, ServerToolCall)
    ]
    assert calls == [
        ("1", ServerToolCall("srv_1", "web_search", "")),
        ("1", ServerToolCall("", "", '{"query": "x"}')),
    ]
