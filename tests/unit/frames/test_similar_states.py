"""State frames that are like the one before: they have the members that a parser finds."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.events import StateUpdate
from server.domain.runs.quick_frames import MAX_BYTES
from server.encoding.frame_delta import digest_of, frame_digest
from server.encoding.prefix_digests import STEP_BYTES
from server.frames import raw_json
from server.frames.interpreter import Interpreter
from server.frames.similar_states import MAX_VALUES, MIN_BYTES, StateForm, form_of
from tests.support.recordings import NAMES, frames

Members = dict[str, bytes]

FILES: dict[str, Any] = {
    "/a.md": {"content": ["# a", "", 'say "so"'], "modified_at": "2026-01-01"},
    "/b.md": "b" * MIN_BYTES,
    '/"c"': {"content": "é\\n", "encoding": "utf-8"},
    "/d": None,
}
DATA: dict[str, Any] = {"messages": "[HumanMessage(content='go')]", "files": FILES, "todos": [], "n": 1}


def state(separators: tuple[str, str] = (", ", ": "), **changed: Any) -> bytes:
    """A state frame."""
    frame = {"event_type": "on_state_update", "data": {**DATA, **changed}, "seq": 7}
    return json.dumps(frame, separators=separators).encode()


def parsed(frame: bytes) -> tuple[Members, Members, Members] | None:
    """The members that a parser finds in the frame, its data and its file map."""
    top = raw_json.strict_members(frame) if raw_json.is_utf8(frame) else None
    data = raw_json.strict_members(top.get("data", b"")) if top else None
    files = raw_json.strict_members(data.get("files", b"")) if data else None
    return None if top is None or data is None or files is None else (top, data, files)


def form(frame: bytes) -> StateForm:
    """The form of a frame that has one."""
    members = parsed(frame)
    assert members is not None
    found = form_of(frame, *members)
    assert found is not None
    return found


def assert_as_parsed(found: StateForm, frame: bytes) -> None:
    """The form has the members of the frame, in their order."""
    members = parsed(frame)
    assert members is not None
    top, data, files = members
    assert list(found.top.items()) == list({**top, "data": b""}.items())
    assert list(found.data.items()) == list({**data, "files": b""}.items())
    assert list(found.files.items()) == list(files.items())


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(['", "n": 1', "}, {", "\\"]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from("ab"), inside, max_size=2),
    max_leaves=6,
)
SEPARATORS = st.sampled_from([(", ", ": "), (",", ":"), (" ,\n", "\t: ")])


@given(st.dictionaries(st.sampled_from(list(FILES)), VALUES), VALUES, VALUES, SEPARATORS)
def test_a_frame_whose_values_differ_has_the_members_that_a_parser_finds(
    files: dict[str, Any], messages: Any, todos: Any, separators: tuple[str, str]
) -> None:
    first = state(separators)
    frame = state(separators, files={**FILES, **files}, messages=messages, todos=todos)
    found = form(first).next(frame)
    if found is not None:
        assert_as_parsed(found, frame)
        again = found.next(first)
        if again is not None:
            assert_as_parsed(again, first)


@pytest.mark.parametrize(
    "changed",
    [
        {"files": {**FILES, "/a.md": {"content": ["# a", "more"]}}},
        {"files": {**FILES, "/d": "last"}},
        {"messages": DATA["messages"][:-1] + ", AIMessage(content='yes')]", "files": {**FILES, "/b.md": "b"}},
        {"n": 12},
        {"todos": [{"content": "write", "status": "done"}], "n": None},
        {},
    ],
)
def test_a_frame_whose_values_differ_needs_no_parser(changed: dict[str, Any]) -> None:
    found = form(state()).next(state(**changed))
    assert found is not None
    assert_as_parsed(found, state(**changed))
    of_frame = sum(len(json.dumps(each)) for key, each in changed.items() if key != "files")
    files = changed.get("files", FILES)
    assert found.changed_bytes == of_frame + sum(
        len(json.dumps(files[path])) for path in FILES if files[path] != FILES[path]
    )


@given(st.data(), SEPARATORS)
def test_any_bytes_in_a_frame_mean_what_they_mean_to_a_parser(
    draw: st.DataObject, separators: tuple[str, str]
) -> None:
    first = state(separators)
    at = draw.draw(st.integers(0, len(first)))
    removed = draw.draw(st.integers(0, 40))
    inserted = draw.draw(
        st.binary(max_size=6)
        | st.sampled_from(
            [b'"', b",", b"}", b"]", b'"x": 1, ', b'"files": {}, ', b"1", b" ", b"\\", b"NaN", b"\xff"]
        )
    )
    frame = first[:at] + inserted + first[at + removed :]
    found = form(first).next(frame)
    if found is not None:
        assert_as_parsed(found, frame)


@given(
    st.sampled_from(list(FILES)),
    st.sampled_from([b"NaN", b'"\\ud800"', b'"\xff"', b" 1", b"1 ", b"1, 2", b"", b"01"]),
)
def test_what_is_not_proper_json_is_left_to_the_parser(path: str, value: bytes) -> None:
    first = state()
    old = json.dumps(FILES[path]).encode()
    assert form(first).next(first.replace(old, value)) is None


def test_a_frame_with_more_behind_its_end_is_left_to_the_parser() -> None:
    first = form(state())
    assert first.next(state() + first.between[-1]) is None


def test_a_frame_that_differs_beside_its_data_is_left_to_the_parser() -> None:
    frame = state(n=2).replace(b'"seq": 7', b'"seq": 8')
    assert form(state()).next(frame) is None


@pytest.mark.parametrize(
    "frame",
    [
        state()[:-1] + b', "seq": 8}',
        state().replace(b'"/d": null', b'"/d": null, "/a.md": 1'),
        state().replace(b'"/d": null', b'"/d": null, "/d": null'),
        state(files={}),
        state(files={"/a": "x" * MAX_BYTES}),
        state(files={f"/{number}": "x" for number in range(MAX_VALUES)}),
        json.dumps({"event_type": "on_state_update", "data": {"files": {"/a": "x"}}}).encode(),
    ],
)
def test_a_frame_with_a_name_twice_or_no_file_or_of_another_size_is_not_kept(frame: bytes) -> None:
    members = parsed(frame)
    assert members is not None
    assert form_of(frame, *members) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_means_the_same_with_and_without_the_last_frame(name: str) -> None:
    kept, parsing = Interpreter(), Interpreter()
    for frame in frames(name):
        parsing.forget_frames()
        meaning, parsed_meaning = kept.interpret(frame), parsing.interpret(frame)
        assert replace(meaning, delta=b"") == replace(parsed_meaning, delta=b"")


def test_an_unchanged_state_behind_an_answer_of_the_runtime_brings_its_files_again() -> None:
    interpreter = Interpreter()
    interpreter.interpret(state())
    interpreter.adopt({}, complete=True)
    (update,) = interpreter.interpret(state()).kinds
    assert isinstance(update, StateUpdate)
    assert [change.path for change in update.files] == ['/"c"', "/a.md", "/b.md"]


def test_a_frame_is_not_kept_once_what_is_remembered_is_released() -> None:
    interpreter = Interpreter()
    interpreter.interpret(state())
    assert interpreter.changed_bytes(state(n=2)) == 1
    interpreter.forget_frames()
    assert interpreter.changed_bytes(state(n=2)) is None


@pytest.mark.parametrize("path", FILES)
def test_a_large_frame_like_the_one_before_has_the_digest_of_its_bytes(path: str) -> None:
    large = {name: f"{name} {'x' * 2 * STEP_BYTES}" for name in FILES}
    interpreter = Interpreter()
    for changed in ({}, {path: "y"}, {path: "z" * STEP_BYTES}, {}, {}):
        frame = state(files={**large, **changed})
        assert digest_of(interpreter.interpret(frame).delta) == frame_digest(frame)
    assert interpreter.changed_bytes(frame) == 0
