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
)
from server.frames.blocks import Block
from server.frames.literals import Printed, json_text
from server.frames.media import read_media
from server.frames.printed import Unreadable
from server.frames.thoughts import read_thoughts

#: Blocks that are tool calls themselves where the message lists none.
CALLS = ("tool_use", "tool_call")
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


def _parts(members: dict[str, Any], has_calls: bool) -> Iterator[ContentPart]:
    """The parts of a block: what is not text in it."""
    kind = members.get("type")
    word = kind if isinstance(kind, str) else ""
    number = members.get("index")
    name = str(number) if type(number) in (int, str) else ""
    if word == "text" and type(members.get("text")) is str:
        yield from _beside_text(members, name)
    elif not (word in CALL_BLOCKS and (has_calls or (word in CALLS and _word(members.get("name"))))):
        yield read_block(word, members, name)


def _beside_text(members: dict[str, Any], name: str) -> Iterator[ContentPart]:
    """What a text has beside it: its sources, and members such as a signature. Its id says nothing."""
    block = Block(members)
    for key in ("annotations", "citations"):
        if isinstance(members.get(key), list):
            for source in block.take(members, key):
                yield ContentPart(read_source(source), name)
    rest = block.rest("type", "text", "id", *(["index"] if name else []))
    if rest:
        yield ContentPart(OtherContent("text", rest), name)


def read_block(word: str, members: Mapping[str, Any], name: str = "") -> ContentPart:
    """The part of a block of the type `word`. What its reader does not take is beside it."""
    block = Block(members)
    form = _FORMS.get(word)
    known = ["index"] if name else []
    if form is not None:
        known.append("type")
    # The type of another result says which tool it is of.
    elif word.endswith("_tool_result"):
        form = _server_tool_result
    kind = form(block) if form is not None else None
    if kind is None or block.untouched:
        return ContentPart(OtherContent(word, json_text(members)), name)
    return ContentPart(kind, name, block.rest(*known))


def _refusal(block: Block) -> ContentKind | None:
    text = block.members.get("refusal")
    return Refusal(block.take(block.members, "refusal")) if type(text) is str else None


def read_source(source: Any) -> ContentKind:
    """A source of the text: an object, or its URL."""
    if isinstance(source, str) and "://" in source:
        return Citation(source, "", "", json_text(source))
    if not isinstance(source, dict):
        return OtherContent("citation", json_text(source))
    inner = source.get("url_citation")
    form = inner if isinstance(inner, dict) else source
    return Citation(
        _word(form.get("url")),
        _word(form.get("title")) or _word(form.get("document_title")),
        _word(form.get("cited_text")),
        json_text(source),
    )


def _citation(block: Block) -> ContentKind:
    # The citation has all of the block.
    for key in block.members:
        block.take(block.members, key)
    return read_source(block.members)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _first(block: Block, *keys: str) -> Any:
    """The first of the members with something in it, which is taken; None when there is none."""
    found = next((key for key in keys if block.members.get(key)), None)
    return None if found is None else block.take(block.members, found)


def _server_tool_call(block: Block) -> ContentKind | None:
    members = block.members
    call_id, name = block.word(members, "id"), block.word(members, "name", "tool_name", "tool")
    # The first piece has an empty object where the next ones have the arguments' text.
    arguments = _first(block, "args", "input", "partial_json", "arguments")
    text = "" if arguments is None else arguments if type(arguments) is str else json_text(arguments)
    return ServerToolCall(call_id, name, text)


def _server_tool_result(block: Block) -> ContentKind | None:
    members = block.members
    call_id = block.word(members, "tool_call_id", "tool_use_id")
    output = next(
        (block.take(members, key) for key in ("output", "content", "result") if members.get(key) is not None),
        None,
    )
    failed = isinstance(output, dict) and _word(output.get("type")).endswith("_error")
    if type(members.get("is_error")) is bool:
        failed = block.take(members, "is_error") or failed
    # A result that failed whatever its status says keeps that as well.
    status = block.word(members, "status") if not failed or members.get("status") == "error" else "error"
    return ServerToolResult(call_id, status, "" if output is None else json_text(output))


_THOUGHTS = ("thinking", "redacted_thinking", "reasoning", "reasoning_content")
_CALLS = (
    "server_tool_call",
    "server_tool_call_chunk",
    "server_tool_use",
    "input_json_delta",
    "mcp_tool_use",
)
_MEDIA = ("image", "image_url", "audio", "input_audio", "video", "file", "document", "media", "text-plain")

_FORMS: Mapping[str, Callable[[Block], ContentKind | None]] = {
    **dict.fromkeys(_THOUGHTS, read_thoughts),
    "refusal": _refusal,
    "citation": _citation,
    **dict.fromkeys(_CALLS, _server_tool_call),
    "server_tool_result": _server_tool_result,
    **dict.fromkeys(_MEDIA, read_media),
}
