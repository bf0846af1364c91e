"""The content of messages that is not text, to and from the contract's messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

from server.domain.journal.content import (
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
from server.encoding.json_text import replace_surrogates as clean
from server.wire import messages as m
from server.wire.text import to_uint64


def write_parts(target: Any, parts: Iterable[ContentPart]) -> None:
    """Add the parts to a repeated field. Characters that UTF-8 cannot encode become U+FFFD."""
    for part in parts:
        message = target.add(block=clean(part.block), extra=clean(part.extra))
        _write_kind(message, part.kind)


def _write_kind(target: m.ContentPart, kind: ContentKind) -> None:
    match kind:
        case Thinking():
            target.thinking.SetInParent()
            target.thinking.text = clean(kind.text)
            target.thinking.signature = clean(kind.signature)
            target.thinking.redacted = clean(kind.redacted)
        case Media():
            _write_media(target.media, kind)
        case ServerToolCall():
            call = m.ServerToolCall(id=clean(kind.id), name=clean(kind.name), arguments=clean(kind.arguments))
            target.server_tool_call.CopyFrom(call)
        case ServerToolResult():
            result = m.ServerToolResult(
                tool_call_id=clean(kind.tool_call_id),
                status=clean(kind.status),
                output=clean(kind.output),
            )
            target.server_tool_result.CopyFrom(result)
        case Citation():
            citation = m.Citation(
                url=clean(kind.url),
                title=clean(kind.title),
                cited_text=clean(kind.cited_text),
                json=clean(kind.json),
            )
            target.citation.CopyFrom(citation)
        case Refusal():
            target.refusal.SetInParent()
            target.refusal.text = clean(kind.text)
        case OtherContent():
            target.other.SetInParent()
            target.other.type = clean(kind.type)
            target.other.json = clean(kind.json)
        case other:
            assert_never(other)


def _write_media(target: m.Media, media: Media) -> None:
    target.kind = clean(media.kind)
    target.mime_type = clean(media.mime_type)
    target.url = clean(media.url)
    target.file_id = clean(media.file_id)
    target.data = media.data
    target.size_bytes = to_uint64(media.size_bytes)
    target.sha256 = clean(media.sha256)
    target.SetInParent()


def read_parts(parts: Iterable[m.ContentPart]) -> tuple[ContentPart, ...]:
    """The parts of a message, without those of kinds that this version does not know."""
    found = ((_read_kind(part), part) for part in parts)
    return tuple(ContentPart(kind, part.block, part.extra) for kind, part in found if kind is not None)


def _read_kind(part: m.ContentPart) -> ContentKind | None:
    match part.WhichOneof("kind"):
        case "thinking":
            return Thinking(part.thinking.text, part.thinking.signature, part.thinking.redacted)
        case "media":
            media = part.media
            return Media(
                media.kind,
                media.mime_type,
                media.url,
                media.file_id,
                media.data,
                media.size_bytes,
                media.sha256,
            )
        case "server_tool_call":
            call = part.server_tool_call
            return ServerToolCall(call.id, call.name, call.arguments)
        case "server_tool_result":
            result = part.server_tool_result
            return ServerToolResult(result.tool_call_id, result.status, result.output)
        case "citation":
            cited = part.citation
            return Citation(cited.url, cited.title, cited.cited_text, cited.json)
        case "refusal":
            return Refusal(part.refusal.text)
        case "other":
            return OtherContent(part.other.type, part.other.json)
        case None:
            return None
        case other:
            assert_never(other)
