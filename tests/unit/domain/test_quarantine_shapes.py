"""The shape of a frame: how it is built, and nothing of what it says."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.events import FrameReason, StateUpdate, UpstreamFrame
from server.domain.quarantine.shapes import MAX_STRUCTURE_CHARS, REASONS, shape_of, structure_of


@pytest.mark.parametrize(
    ("value", "structure"),
    [
        ({"b": 1, "a": "x"}, "{a: str, b: num}"),
        ({"b": 2.5, "a": ""}, "{a: str, b: num}"),
        ({"a": None, "b": True, "c": []}, "{a: null, b: bool, c: []}"),
        ([1, "x", 2, None], "[null | num | str]"),
        ({"items": [{"a": 1}, {"a": 2}]}, "{items: [{a: num}]}"),
        (
            {"files": {"/a.md": {"content": ["x"]}, "/b.md": {"content": []}}},
            "{files: {*: {content: []} | {content: [str]}}}",
        ),
        ({"text": "x", "/secret/path": 3}, "{text: str, *: num}"),
        ({"0b9f6d6e-6f0e-4c52-9d5c-3f8c2f6f1a11": 1}, "{*: num}"),
        ({f"key{at}": at for at in range(9)}, "{" + ", ".join(f"key{at}: num" for at in range(9)) + "}"),
        ({"a" * (at + 1): at for at in range(39)} | {"b": 1, "c": 1}, "{*: num}"),
        ({}, "{}"),
        ("x", "str"),
    ],
)
def test_a_structure_has_keys_and_types_without_values(value: Any, structure: str) -> None:
    assert structure_of(json.dumps(value).encode()) == structure


@pytest.mark.parametrize(
    ("frame", "structure"),
    [
        (b"\xff", "not UTF-8"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[" + b"1," * 200_000 + b"1]", "many values"),
        (b'{"a":' * 12 + b"1" + b"}" * 12, "{a: " * 8 + "…" + "}" * 8),
    ],
)
def test_a_frame_that_cannot_be_read_says_why(frame: bytes, structure: str) -> None:
    assert structure_of(frame) == structure


KEYS = st.sampled_from(["a", "b", "event_type", "data"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def replaced(value: Any) -> Any:
    """The same structure with other values."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value + "other"
        case list():
            return [replaced(each) for each in value]
        case dict():
            return {key: replaced(value[key]) for key in reversed(value)}
    return value


@given(VALUES)
def test_other_values_in_another_order_have_the_same_structure(value: Any) -> None:
    assert structure_of(json.dumps(value).encode()) == structure_of(json.dumps(replaced(value)).encode())


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=50), st.text())
def test_a_shape_tells_no_value_and_is_bounded_and_can_be_stored(
    data: dict[str, str], event_type: str
) -> None:
    frame = json.dumps({"event_type": event_type, "data": data}).encode()
    shape = shape_of(UpstreamFrame(event_type, FrameReason.UNKNOWN_TYPE, frame))
    assert shape is not None
    assert len(shape.structure) <= MAX_STRUCTURE_CHARS
    assert len(shape.event_type) <= 100
    allowed = set(string.ascii_letters + string.digits + "_$-{}[]:, *|…./")
    assert set(shape.structure + shape.event_type) <= allowed | set(event_type)
    assert shape.event_type in (event_type, "…")


def test_the_id_is_that_of_reason_type_and_structure() -> None:
    def shape(event_type: str, reason: FrameReason, value: Any) -> str:
        found = shape_of(UpstreamFrame(event_type, reason, json.dumps(value).encode()))
        assert found is not None
        return found.id

    base = shape("a", FrameReason.UNKNOWN_TYPE, {"x": 1})
    assert shape("a", FrameReason.UNKNOWN_TYPE, {"x": 2}) == base
    others = {
        shape("b", FrameReason.UNKNOWN_TYPE, {"x": 1}),
        shape("a", FrameReason.MALFORMED, {"x": 1}),
        shape("a", FrameReason.UNKNOWN_TYPE, {"x": "1"}),
    }
    assert len(others | {base}) == 4


@pytest.mark.parametrize("reason", FrameReason)
def test_what_is_understood_is_not_in_quarantine(reason: FrameReason) -> None:
    assert (shape_of(UpstreamFrame("x", reason, b"{}")) is not None) is (reason in REASONS)
    assert shape_of(StateUpdate()) is None
