"""State frames that are like the one before: they have the members that a parser finds."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.events import InputAnswered, InputRequested, StateUpdate
from server.domain.proposals.files import File
from server.domain.runs.quick_frames import MAX_BYTES
from server.encoding.frame_delta import WHOLE_BYTES, DeltaContext, digest_of, frame_digest
from server.frames import raw_json
from server.frames.agent_state import IN_PYTHON
from server.frames.interpreter import Interpreter
from server.frames.similar_states import MAX_VALUES, MIN_BYTES, SplitFrame, StateForm, form_of
from tests.support.recordings import NAMES, frames
from tests.support.runtime import token_frame
from tests.unit.compiled.forms import Form, compiled_steps, delta_in_one_call, installed_forms

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


@pytest.fixture(scope="session", params=["in Python", "compiled"])
def split(request: pytest.FixtureRequest) -> SplitFrame:
    """Each way to split a frame."""
    return IN_PYTHON.split if request.param == "in Python" else compiled_steps().split


def form(frame: bytes, split: SplitFrame) -> StateForm:
    """The form of a frame that has one."""
    members = parsed(frame)
    assert members is not None
    found = form_of(frame, *members, split)
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
    split: SplitFrame, files: dict[str, Any], messages: Any, todos: Any, separators: tuple[str, str]
) -> None:
    first = state(separators)
    frame = state(separators, files={**FILES, **files}, messages=messages, todos=todos)
    found = form(first, split).next(frame)
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
def test_a_frame_whose_values_differ_needs_no_parser(split: SplitFrame, changed: dict[str, Any]) -> None:
    found = form(state(), split).next(state(**changed))
    assert found is not None
    assert_as_parsed(found, state(**changed))
    of_frame = sum(len(json.dumps(each)) for key, each in changed.items() if key != "files")
    files = changed.get("files", FILES)
    assert found.changed_bytes == of_frame + sum(
        len(json.dumps(files[path])) for path in FILES if files[path] != FILES[path]
    )


@given(st.data(), SEPARATORS)
def test_any_bytes_in_a_frame_mean_what_they_mean_to_a_parser(
    split: SplitFrame, draw: st.DataObject, separators: tuple[str, str]
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
    found = form(first, split).next(frame)
    if found is not None:
        assert_as_parsed(found, frame)


@given(
    st.sampled_from(list(FILES)),
    st.sampled_from([b"NaN", b'"\\ud800"', b'"\xff"', b" 1", b"1 ", b"1, 2", b"", b"01"]),
)
def test_what_is_not_proper_json_is_left_to_the_parser(split: SplitFrame, path: str, value: bytes) -> None:
    first = state()
    old = json.dumps(FILES[path]).encode()
    assert form(first, split).next(first.replace(old, value)) is None


def test_a_frame_with_more_behind_its_end_is_left_to_the_parser(split: SplitFrame) -> None:
    assert form(state(), split).next(state() + b'}, "seq": 7}') is None


def test_a_frame_that_differs_beside_its_data_is_left_to_the_parser(split: SplitFrame) -> None:
    frame = state(n=2).replace(b'"seq": 7', b'"seq": 8')
    assert form(state(), split).next(frame) is None


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


FILE = st.sampled_from(
    ["x" * 3, {"content": "x"}, {"content": "", "created_at": "now"}, ["a", "b"], 1, None, {"content": [1]}]
)
STEPS = st.lists(
    st.dictionaries(st.sampled_from(["/a.md", '/"c"', "/d"]), FILE, min_size=1).map(
        lambda some: ("files", some)
    )
    | st.sampled_from(
        [
            ("data", {"n": 2}),
            ("data", {"todos": [{"content": "write", "status": "done"}]}),
            ("data", {"messages": "[HumanMessage(content='go'), AIMessage(content='yes')]"}),
            ("data", {"__interrupt__": "[Interrupt(value='more?', id='i')]"}),
            ("small", {"messages": "[]", "n": 3}),
            ("answer", {}),
            ("adopt", {"/d": File(b"d")}),
            ("keep", {}),
            ("token", {}),
        ]
    ),
    max_size=12,
)


@given(STEPS, st.booleans())
def test_states_that_differ_in_files_alone_mean_what_they_mean_to_a_parser(
    steps: list[tuple[str, dict[str, Any]]], in_one_call: bool
) -> None:
    for make in installed_forms():
        kept, parsing = make(), Interpreter()
        texts, parsed_texts = DeltaContext(), DeltaContext()
        data: dict[str, Any] = {"files": FILES}
        for kind, changed in [("data", {}), ("files", {"/d": "d"}), *steps]:
            if kind == "adopt":
                assert kept.adopt(changed, complete=False) == parsing.adopt(changed, complete=False)
                continue
            if kind == "answer":
                answered = InputAnswered(1, "i", UUID(int=0), ())
                kept.restore(answered, b"")
                parsing.restore(answered, b"")
                continue
            parsing.forget_frames()
            if kind == "keep":
                kept.keep(b"?")
                parsing.keep(b"?")
                continue
            if kind == "small":
                frame = json.dumps({"event_type": "on_state_update", "data": changed}).encode()
            elif kind == "token":
                frame = json.dumps(token_frame("a")).encode()
            else:
                new = {"files": {**data["files"], **changed}} if kind == "files" else changed
                data = {**data, **new}
                frame = state(**data)
            right = parsing.interpret(frame)
            delta = None
            if in_one_call:
                delta = delta_in_one_call(kept, frame, right)
            if delta is None:
                meaning = kept.interpret(frame)
                assert replace(meaning, delta=b"") == replace(right, delta=b"")
                delta = meaning.delta
            assert delta[:9] == right.delta[:9]
            assert texts.decode(delta) == parsed_texts.decode(right.delta)
            assert kept.shows_files == parsing.shows_files
            assert kept.files == parsing.files


def test_a_question_that_was_answered_counts_again_beside_other_files() -> None:
    interpreter = Interpreter()
    asking: dict[str, Any] = {"__interrupt__": "[Interrupt(value='more?', id='i')]"}
    interpreter.interpret(state(**asking))
    interpreter.interpret(state(**asking, files={**FILES, "/d": "1"}))
    interpreter.restore(InputAnswered(2, "i", UUID(int=0), ()), b"")
    _, asked = interpreter.interpret(state(**asking, files={**FILES, "/d": "2"})).kinds
    assert isinstance(asked, InputRequested)


def test_a_frame_is_not_kept_once_what_is_remembered_is_released() -> None:
    interpreter = Interpreter()
    interpreter.interpret(state())
    assert interpreter.changed_bytes(state(n=2)) == 1
    interpreter.forget_frames()
    assert interpreter.changed_bytes(state(n=2)) is None


@pytest.mark.parametrize("make", installed_forms())
@pytest.mark.parametrize("path", FILES)
def test_a_large_frame_like_the_one_before_has_the_digest_of_its_bytes(path: str, make: Form) -> None:
    large = {name: f"{name} {'x' * 2 * WHOLE_BYTES}" for name in FILES}
    interpreter = make()
    for changed in ({}, {path: "y"}, {path: "z" * WHOLE_BYTES}, {}, {}):
        frame = state(files={**large, **changed})
        assert digest_of(interpreter.interpret(frame).delta) == frame_digest(frame)
    assert interpreter.changed_bytes(frame) == 0


INSERTED = st.sampled_from([b"", b"{", b"x", b"{x", b"x" * 5000, b"{" * 9000, b"x" * 4095 + b"{"])


@given(st.lists(st.tuples(st.integers(0, 90_000), st.integers(0, 9_000), INSERTED), min_size=1, max_size=5))
def test_what_is_known_of_the_frame_before_does_not_change_a_digest(
    split: SplitFrame, changes: list[tuple[int, int, bytes]]
) -> None:
    text = b"".join(b"%06d{" % number + b"a" * 1000 for number in range(80))
    known = split(b'"%b"' % text, [(0, len(text) + 2)])
    for at, removed, inserted in changes:
        text = text[:at] + inserted + text[at + removed :]
        frame = b'"%b"' % text
        found = known.next(frame)
        assert found is not None
        known = found[0]
        assert known.digest == frame_digest(frame)


@given(st.lists(st.dictionaries(st.integers(0, 19), INSERTED, max_size=3), min_size=1, max_size=5))
def test_a_frame_has_its_own_digest_whichever_of_its_values_differ(
    split: SplitFrame, changes: list[dict[int, bytes]]
) -> None:
    values = [b'"%06d{%b"' % (number, b"a" * 1000 * (number % 4)) for number in range(20)]
    ends = [sum(map(len, values[: number + 1])) + number for number in range(len(values))]
    places = [(end - len(value), end) for end, value in zip(ends, values, strict=True)]
    known = split(b",".join(values), places)
    for changed in changes:
        for number, text in changed.items():
            values[number] = b'"%06d%b"' % (number, text)
        frame = b",".join(values)
        found = known.next(frame)
        assert found is not None
        known = found[0]
        assert known.digest == frame_digest(frame)


@pytest.mark.parametrize("make", installed_forms())
def test_a_file_map_that_differs_in_some_files_gives_the_changes_that_a_whole_one_gives(make: Form) -> None:
    interpreter, parsing = make(), make()
    unreadable = {"content": 1}
    maps: list[dict[str, Any]] = [{}, {"/a.md": "x"}, {"/a.md": "x", "/b.md": None}, {"/b.md": "y"}]
    maps += [{"/b.md": unreadable}, {"/b.md": "y"}, {'/"c"': {"content": ["é\\n"]}}, {}, {"/d": "z"}, {}]
    for number, changed in enumerate(maps * 2):
        frame = state(files={**FILES, **changed})
        parsing.forget_frames()
        meaning, right = interpreter.interpret(frame), parsing.interpret(frame)
        assert replace(meaning, delta=b"") == replace(right, delta=b"")
        if number == len(maps):
            assert interpreter.adopt({}, complete=True) == parsing.adopt({}, complete=True)
        assert interpreter.size_bytes >= parsing.size_bytes
        assert interpreter.files == parsing.files
