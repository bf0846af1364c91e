"""The content of a message: its text, and what is not text.

The text is what the framework's own `text` gives: a string, or the text blocks of a list, joined. Blocks of
other kinds become parts; their forms differ by provider and version of the framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from server.domain.journal.content import (
    Citation,
    ContentKind,
    ContentPart,
    OtherContent,
    Refusal,
    ServerToolCall,
    ServerToolResult,
    Thinking,
)
from server.runtime.literals import Printed, json_text
from server.runtime.media import read_media
from server.runtime.printed import Unreadable

Block = Mapping[str, Any]

#: Blocks that only repeat the message's tool calls.
CALL_BLOCKS = frozenset(
    {
        "tool_use",
        "input_json_delta",
        "tool_call",
        "tool_call_chunk",
        "invalid_tool_call",
        "function_call",
    }
)


def read_content(content: Any, *, has_calls: bool = True) -> tuple[str, tuple[ContentPart, ...]]:
    """The text and the other parts of a message's content. Raises Unreadable.

    has_calls: the message also has tool calls, so that arguments in its content are theirs, and not those of
    a tool that the provider runs.
    """
    if type(content) is str:
        return content, ()
    if content is None:
        return "", ()
    if isinstance(content, Printed):
        raise Unreadable
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return json_text(content), ()
    text, parts = "", list[ContentPart]()
    for block in content:
        if type(block) is str:
            text += block
        elif isinstance(block, dict):
            if block.get("type") == "text" and type(block.get("text")) is str:
                text += block["text"]
            parts += _parts(block, has_calls)
        elif block is not None:
            parts.append(ContentPart(OtherContent("", json_text(block))))
    return text, tuple(parts)


def extra_parts(additional: Any) -> tuple[ContentPart, ...]:
    """The parts that a message has beside its content: thoughts and a refusal of some providers."""
    if not isinstance(additional, dict):
        return ()
    kinds: list[ContentKind] = []
    if _word(additional.get("reasoning_content")):
        kinds.append(Thinking(additional["reasoning_content"]))
    if _word(additional.get("refusal")):
        kinds.append(Refusal(additional["refusal"]))
    return tuple(map(ContentPart, kinds))


def _parts(block: dict[str, Any], has_calls: bool) -> Iterator[ContentPart]:
    """The parts of a block: what is not text in it."""
    kind = block.get("type")
    word = kind if isinstance(kind, str) else ""
    number = block.get("index")
    name = str(number) if type(number) in (int, str) else ""
    if word == "text" and type(block.get("text")) is str:
        for key in ("annotations", "citations"):
            cited = block.get(key)
            for source in cited if isinstance(cited, list) else ():
                yield ContentPart(_citation(source), name)
    elif word not in CALL_BLOCKS or (word == "input_json_delta" and not has_calls):
        form = _FORMS.get(word)
        if form is None and word.endswith("_tool_result"):
            form = _server_tool_result
        read = form(block) if form is not None else None
        yield ContentPart(OtherContent(word, json_text(block)) if read is None else read, name)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _arguments(value: Any) -> str:
    if value is None:
        return ""
    return value if type(value) is str else json_text(value)


def _thinking(block: Block) -> ContentKind | None:
    if type(block.get("thinking", "")) is not str:
        return None
    return Thinking(block.get("thinking", ""), _word(block.get("signature")))


def _redacted(block: Block) -> ContentKind | None:
    return Thinking(redacted=block["data"]) if type(block.get("data")) is str else None


def _reasoning(block: Block) -> ContentKind | None:
    """A block `reasoning`: text, a summary of several texts, or an encrypted text."""
    extras = block.get("extras")
    signature = _word(block.get("signature")) or _word(
        extras.get("signature") if isinstance(extras, dict) else None
    )
    redacted = _word(block.get("encrypted_content"))
    text, summary = block.get("reasoning"), block.get("summary")
    if type(text) is str:
        return Thinking(text, signature, redacted)
    if isinstance(summary, list):
        pieces = [_word(item.get("text")) if isinstance(item, dict) else _word(item) for item in summary]
        return Thinking("\n\n".join(filter(None, pieces)), signature, redacted)
    inner = block.get("reasoning_content")
    if isinstance(inner, dict) and type(inner.get("text", "")) is str:
        return Thinking(inner.get("text", ""), _word(inner.get("signature")))
    if any(value is not None for value in (text, summary, inner)):
        return None
    return Thinking("", signature, redacted)


def _refusal(block: Block) -> ContentKind | None:
    return Refusal(block["refusal"]) if type(block.get("refusal")) is str else None


def _citation(source: Any) -> ContentKind:
    if not isinstance(source, dict):
        return OtherContent("citation", json_text(source))
    return Citation(
        _word(source.get("url")),
        _word(source.get("title")) or _word(source.get("document_title")),
        _word(source.get("cited_text")),
        json_text(source),
    )


def _server_tool_call(block: Block) -> ContentKind | None:
    # The first piece has an empty object where the next ones have the arguments' text.
    arguments = block.get("args") or block.get("input") or block.get("partial_json")
    return ServerToolCall(_word(block.get("id")), _word(block.get("name")), _arguments(arguments))


def _server_tool_result(block: Block) -> ContentKind | None:
    call_id = block.get("tool_call_id", block.get("tool_use_id"))
    output = block.get("output", block.get("content"))
    failed = block.get("is_error") is True or (
        isinstance(output, dict) and _word(output.get("type")).endswith("_error")
    )
    status = "error" if failed else _word(block.get("status"))
    return ServerToolResult(_word(call_id), status, "" if output is None else json_text(output))


_FORMS: Mapping[str, Callable[[Block], ContentKind | None]] = {
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "reasoning": _reasoning,
    "reasoning_content": _reasoning,
    "refusal": _refusal,
    "citation": _citation,
    "server_tool_call": _server_tool_call,
    "server_tool_call_chunk": _server_tool_call,
    "server_tool_use": _server_tool_call,
    "input_json_delta": _server_tool_call,
    "mcp_tool_use": _server_tool_call,
    "server_tool_result": _server_tool_result,
    **dict.fromkeys(
        ("image", "image_url", "audio", "input_audio", "video", "file", "document", "media", "text-plain"),
        read_media,
    ),
}
