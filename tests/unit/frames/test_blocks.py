"""Nothing of a block is lost: what its kind does not have is beside it."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.journal.content import OtherContent
from tests.unit.frames.printed_messages import message_of


@pytest.mark.parametrize(
    ("block", "extra"),
    [
        ({"type": "thinking", "thinking": "t", "signature": "s", "index": 0}, None),
        ({"type": "thinking", "thinking": "t", "provider": {"x": "y"}}, {"provider": {"x": "y"}}),
        (
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "a"}]},
            {"id": "rs_1"},
        ),
        ({"type": "reasoning", "reasoning": "r", "extras": {"signature": "s", "k": 0}}, {"extras": {"k": 0}}),
        ({"type": "reasoning", "summary": [{"text": "a"}, {"b": 1}]}, {"summary": [{"b": 1}]}),
        (
            {"type": "file", "base64": "aGk=", "mime_type": "a/b", "extras": {"filename": "n"}},
            {"extras": {"filename": "n"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
            {"image_url": {"detail": "low"}},
        ),
        (
            {"type": "image", "url": "https://a.example/i", "file_id": "f", "mime_type": "image/png"},
            {"file_id": "f"},
        ),
        ({"type": "image", "url": "https://a.example/i", "base64": "aGk="}, {"url": "https://a.example/i"}),
        (
            {"type": "image", "url": "data:image/png,aGk=", "mime_type": "image/gif"},
            {"mime_type": "image/gif"},
        ),
        ({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}, None),
        ({"type": "mcp_tool_use", "id": "s", "name": "n", "server_name": "m"}, {"server_name": "m"}),
        ({"type": "server_tool_result", "status": "odd", "is_error": True}, {"status": "odd"}),
        ({"type": "x_tool_result", "tool_use_id": "s"}, {"type": "x_tool_result"}),
        ({"type": "refusal", "refusal": "no", "index": 1, "why": None}, None),
        ({"type": "citation", "url": "u", "x": "y"}, None),
    ],
)
def test_what_a_kind_does_not_have_of_its_block_is_beside_it(block: dict[str, Any], extra: Any) -> None:
    (part,) = message_of(content=[block]).parts
    assert not isinstance(part.kind, OtherContent)
    assert (json.loads(part.extra) if part.extra else None) == extra


def leaves(value: Any) -> Iterator[str]:
    """The strings in a value, without the words that say what an object is."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in ("type", "source_type"):
                yield from leaves(item)


MEMBER_NAMES = [
    *("thinking", "reasoning", "summary", "content", "reasoning_content", "reasoningContent", "text"),
    *("signature", "extras", "data", "encrypted_content", "refusal", "url", "title", "image_url", "source"),
    *("file", "base64", "mime_type", "file_id", "id", "name", "args", "input", "partial_json", "output"),
    *("result", "tool_use_id", "status", "is_error", "index", "annotations", "format", "odd"),
]
BLOCK_TYPES = [
    *("thinking", "redacted_thinking", "reasoning", "reasoning_content", "refusal", "citation"),
    *("server_tool_call", "server_tool_use", "x_tool_result", "server_tool_result"),
    *("image", "image_url", "input_audio", "video", "file", "document", "media", "text-plain", "odd"),
]
#: Strings that are Base64 as well; distinct by their number.
LEAVES = st.integers(0, 999).map(lambda number: f"L{number:03}")
MEMBER_VALUES = st.recursive(
    LEAVES | st.sampled_from([None, True, 3, "", "data:image/png;base64,aGk="]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(MEMBER_NAMES), inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "odd"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(
    st.sampled_from(BLOCK_TYPES),
    st.dictionaries(st.sampled_from(MEMBER_NAMES), MEMBER_VALUES, max_size=5),
)
def test_nothing_of_a_block_is_lost(word: str, members: dict[str, Any]) -> None:
    (part,) = message_of(content=[{**members, "type": word}]).parts
    fields = {field.name: getattr(part.kind, field.name) for field in dataclasses.fields(part.kind)}
    found = [value for value in (part.block, part.extra, *fields.values()) if isinstance(value, str)]
    for leaf in leaves(members):
        media = f"{base64.b64encode(fields.get('data', b'')).decode()} {fields.get('data', b'')!r}"
        assert any(leaf in text for text in found) or leaf.partition(",")[2] in media or leaf in media
