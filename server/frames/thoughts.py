"""What the model thought, in the forms of providers: a text, a list or summary of texts, or encrypted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from server.domain.journal.content import Thinking
from server.frames.blocks import Block

#: Members that hold the thoughts: a text, or an object or list with texts.
_TEXTS = (
    "thinking",
    "reasoning",
    "summary",
    "content",
    "reasoning_content",
    "reasoningContent",
    "reasoning_text",
    "reasoningText",
    "text",
    "thought",
)
#: Members whose texts are paragraphs. The texts of other lists are pieces of one text.
_PARAGRAPHS = frozenset({"summary", "content"})
_REDACTED = ("encrypted_content", "redacted_content", "redactedContent", "data")
_MAX_DEPTH = 5


def read_thoughts(block: Block) -> Thinking | None:
    """The thoughts of a block; None when it has none in any known form."""
    texts = [text for text in _texts(block, block.members, 0) if text]
    members = block.members
    signature = _signature(block, members, 0)
    redacted = block.word(members, *_REDACTED)
    if block.untouched:
        return None
    return Thinking("\n\n".join(dict.fromkeys(texts)), signature, redacted)


def _texts(block: Block, container: Any, depth: int) -> Iterator[str]:
    """The texts of an object, by member."""
    if depth == _MAX_DEPTH or not isinstance(container, dict):
        return
    for key in _TEXTS:
        if key not in container:
            continue
        value = container[key]
        if type(value) is str or value == []:
            yield block.take(container, key) or ""
        elif isinstance(value, dict):
            yield from _texts(block, value, depth + 1)
        elif isinstance(value, list):
            pieces = list(_pieces(block, value, depth + 1))
            yield ("\n\n" if key in _PARAGRAPHS else "").join(filter(None, pieces))


def _pieces(block: Block, values: list[Any], depth: int) -> Iterator[str]:
    """The texts of a list."""
    for at, value in enumerate(values):
        if type(value) is str:
            yield block.take(values, at)
        else:
            yield "\n\n".join(filter(None, _texts(block, value, depth)))


def _signature(block: Block, container: Any, depth: int) -> str:
    """The provider's signature: beside the thoughts, in the object that has them, or among the extras."""
    found = block.word(container, "signature")
    for key in ("extras", "reasoning_content", "reasoningContent", "reasoningText", "reasoning_text"):
        if not found and depth < _MAX_DEPTH and isinstance(container.get(key), dict):
            found = _signature(block, container[key], depth + 1)
    return found
