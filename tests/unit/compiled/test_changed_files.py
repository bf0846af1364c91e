"""State frames that differ from the last one in text files alone: compiled, each becomes its entry of the
journal in one call, the same as the one that is made of its meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.proposals.files import File
from server.domain.runs.quick_frames import MAX_BYTES
from server.domain.runs.runtime import FrameInterpreter
from server.encoding.frame_delta import DeltaContext
from server.frames.interpreter import Interpreter
from tests.unit.compiled.forms import compiled, delta_in_one_call

FILES: dict[str, Any] = {f"/{number:02}.md": f"file {number}\n" * 80 for number in range(20)}
LARGE = "x" * (64 << 10)
#: With these files and another large one, a frame is too large to be taken.
FILLING = "x" * (MAX_BYTES - (70 << 10))


def state(files: Mapping[str, Any], **changed: Any) -> bytes:
    """A state frame with these files, and with others that it always has."""
    data = {"messages": "[HumanMessage(content='go')]", "n": 1, "files": {**FILES, **files}, **changed}
    frame = {"event_type": "on_state_update", "data": data}
    return json.dumps(frame, ensure_ascii=False).encode("utf-8", "surrogatepass")


def interpreter(first: bytes) -> FrameInterpreter:
    """One that has read a frame, and before it one with another file."""
    made = compiled()()
    made.interpret(first.replace(b"file 18", b"before", 1))
    made.interpret(first)
    return made


def takes(frame: bytes, first: bytes) -> bool:
    """Whether the entry of the frame is made in one call once the first one was read."""
    parsing = Interpreter()
    parsing.interpret(first)
    return delta_in_one_call(interpreter(first), frame, parsing.interpret(frame)) is not None


@pytest.mark.parametrize(
    "files",
    [
        {"/03.md": "new"},
        {"/03.md": ""},
        {"/03.md": {"content": ["a", "", "é"], "created_at": "2026-01-01", "modified_at": "now"}},
        {"/19.md": "last", "/00.md": "first", "/07.md": {"content": '\\ " \n', "encoding": "utf-8"}},
        dict.fromkeys(list(FILES)[:16], "new"),
        {"/03.md": LARGE[:-2]},
    ],
)
def test_a_frame_with_other_text_files_becomes_its_entry_in_one_call(files: dict[str, Any]) -> None:
    assert takes(state(files), state({}))


@pytest.mark.parametrize(
    ("frame", "first"),
    [
        (state({}), state({})),
        (state({"/03.md": {"content": FILES["/03.md"]}}), state({})),
        (state({"/03.md": None}), state({})),
        (state({"/03.md": {"content": "AAA=", "encoding": "base64"}}), state({})),
        (state({"/03.md": {"content": "a", "more": 1}}), state({})),
        (state({"/03.md": {"content": "a", "created_at": ""}}), state({})),
        (state({"/03.md": {"content": "a", "modified_at": 1}}), state({})),
        (state({"/03.md": "\ud800"}), state({})),
        (state({"/03.md": "a", "/04.md": 1}), state({})),
        (state({"/03.md": "a"}, n=2), state({})),
        (state({"/03.md": "a"}, messages="[]"), state({})),
        (state({"/20.md": "a"}), state({})),
        (state({"/03.md": "a"}), state({"/20.md": "a"})),
        (state({"": "b"}), state({"": "a"})),
        (state(dict.fromkeys(list(FILES)[:17], "a")), state({})),
        (state({"/03.md": LARGE}), state({})),
        (state({"/03.md": "b", "/04.md": LARGE * 4}), state({"/04.md": LARGE * 4})),
        (state({"/03.md": LARGE[:-9], "/04.md": FILLING}), state({"/04.md": FILLING})),
        (state({"/03.md": "b", "/04.md": None}), state({"/04.md": None})[:-2]),
        (state({"/03.md": "b", "/04.md": {"content": 1}}), state({"/04.md": {"content": 1}})),
        (state({"/03.md": "b"}, __interrupt__="[]"), state({}, __interrupt__="[]")),
        (state({"/03.md": "b"}) + b" ", state({})),
        (b"", state({})),
    ],
)
def test_another_frame_is_left_to_the_parser(frame: bytes, first: bytes) -> None:
    assert not takes(frame, first)


def test_a_frame_is_taken_behind_one_that_changed_files_alone() -> None:
    made, parsing = compiled()(), Interpreter()
    taken = []
    for files, n in [({}, 1), ({"/03.md": "a"}, 1), ({"/03.md": "b"}, 1), ({}, 2), ({"/03.md": "c"}, 2)]:
        frame = state(files, n=n)
        taken.append(delta_in_one_call(made, frame, parsing.interpret(frame)) is not None)
        if not taken[-1]:
            made.interpret(frame)
    assert taken == [False, False, True, False, False]


@pytest.mark.parametrize("path", ["/03.md", "/04.md"])
def test_a_frame_behind_one_without_a_file_is_taken_for_the_files_that_it_has(path: str) -> None:
    first = state({"/03.md": None})
    assert takes(state({"/03.md": None, path: "a"}), first) is (path == "/04.md")


def test_a_frame_behind_files_that_were_released_or_adopted_is_left_to_the_parser() -> None:
    frame = state({"/03.md": "a"})
    released, adopted, forgotten = (interpreter(state({})) for _ in range(3))
    released.release_files(1, Interpreter().interpret(state({})).kinds[0])
    adopted.adopt({"/03.md": File(b"b")}, complete=False)
    forgotten.forget_frames()
    for each in (released, adopted, forgotten):
        parsing = Interpreter()
        assert delta_in_one_call(each, frame, parsing.interpret(frame)) is None


def test_what_is_kept_of_a_frame_is_counted_once() -> None:
    in_one_call, read = interpreter(state({})), interpreter(state({}))
    for files in (
        {"/03.md": "a" * 3000},
        {"/03.md": "b", "/04.md": "c" * 70},
        {"/04.md": {"content": ["d"]}},
    ):
        right = read.interpret(state(files))
        assert delta_in_one_call(in_one_call, state(files), right) is not None
        assert in_one_call.size_bytes == read.size_bytes
        assert in_one_call.memory_bytes == read.memory_bytes
        assert in_one_call.files == read.files


@given(st.data())
def test_any_bytes_in_a_frame_give_the_entry_of_its_meaning(draw: st.DataObject) -> None:
    kept, parsing = interpreter(state({})), Interpreter()
    parsing.interpret(state({}))
    deltas, right_deltas = DeltaContext(), DeltaContext()
    first = Interpreter().interpret(state({})).delta
    deltas.decode(first)
    right_deltas.decode(first)
    inserted = st.binary(max_size=4) | st.sampled_from(
        [b'"', b",", b"}", b"\\", b"NaN", b"\xff", b'","/x":"']
    )
    for _ in range(3):
        frame = state(
            draw.draw(st.dictionaries(st.sampled_from(list(FILES)), st.text(max_size=4), max_size=2))
        )
        if draw.draw(st.booleans()):
            at, removed = draw.draw(st.integers(0, len(frame))), draw.draw(st.integers(0, 30))
            frame = frame[:at] + draw.draw(inserted) + frame[at + removed :]
        right = parsing.interpret(frame)
        delta = delta_in_one_call(kept, frame, right)
        if delta is None:
            delta = kept.interpret(frame).delta
        assert kept.files == parsing.files
        if right.delta:
            assert deltas.decode(delta) == right_deltas.decode(right.delta)
