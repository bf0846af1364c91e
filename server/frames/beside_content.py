"""What a message has beside its content: some providers put thoughts, a refusal, sources and sound there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from server.domain.journal.content import ContentPart, OtherContent, Refusal, Thinking
from server.frames.content import read_block, read_source
from server.frames.literals import json_text

#: Members with thoughts. Where two have the same ones, the first has more about them.
_THOUGHTS = ("reasoning_details", "thinking", "reasoning_content", "reasoning")


def parts_beside(additional: Any) -> tuple[ContentPart, ...]:
    """The parts that are not in the content, but in the message's `additional_kwargs`."""
    return tuple(_parts(additional)) if isinstance(additional, dict) else ()


def _parts(additional: dict[str, Any]) -> Iterator[ContentPart]:
    seen = set[str]()
    for key in _THOUGHTS:
        parts = [_thoughts(key, value) for value in _values(additional.get(key))]
        text = "".join(part.kind.text for part in parts if isinstance(part.kind, Thinking))
        if text not in seen or not all(map(_is_text_alone, parts)):
            yield from parts
        seen.add(text)
    refusal = additional.get("refusal")
    if refusal:
        yield ContentPart(Refusal(refusal)) if type(refusal) is str else _other("refusal", refusal)
    for key in ("annotations", "citations"):
        for source in _values(additional.get(key)):
            yield ContentPart(read_source(source))
    for sound in _values(additional.get("audio")):
        yield (
            read_block("audio", {**sound, "type": "audio"})
            if isinstance(sound, dict)
            else _other("audio", sound)
        )


def _values(value: Any) -> list[Any]:
    """The values of a member that may be a list of them."""
    return [item for item in (value if isinstance(value, list) else [value]) if item]


def _thoughts(key: str, value: Any) -> ContentPart:
    if isinstance(value, dict):
        # Numbered apart from the blocks of the content.
        index = value.get("index")
        return read_block("reasoning", value, f"{key}.{index}" if type(index) is int else "")
    return _other(key, value) if type(value) is not str else ContentPart(Thinking(value))


def _is_text_alone(part: ContentPart) -> bool:
    return isinstance(part.kind, Thinking) and part.kind == Thinking(part.kind.text) and not part.extra


def _other(key: str, value: Any) -> ContentPart:
    return ContentPart(OtherContent(key, json_text(value)))
