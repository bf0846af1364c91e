"""Interpreters that release what they keep: later frames mean the same, and deltas reconstruct them."""

from __future__ import annotations

import json
from typing import Any

from server.domain.journal.events import EventKind, StateUpdate
from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.proposals.files import File
from server.frames.interpreter import Interpreter
from server.frames.run_files import MIN_RELEASED_BYTES
from tests.support.legacy_frames import frames_for
from tests.support.runtime import state_frame, token_frame

LARGE, OTHER = "a" * MIN_RELEASED_BYTES, "b" * MIN_RELEASED_BYTES


def a_state(files: dict[str, Any], messages: Any) -> bytes:
    return json.dumps(state_frame(files=files, messages=messages, todos=[], more=LARGE)).encode()


def message(text: str, number: int) -> dict[str, Any]:
    return {"type": "ai", "content": text, "id": str(number)}


#: A new file, an equal one in another spelling, a changed, an unread and a deleted one; messages that stay,
#: change, and come again.
FRAMES = [
    a_state({"/a": LARGE, "/b": "small"}, [message(LARGE, 1)]),
    json.dumps(token_frame(LARGE)).encode(),
    json.dumps(token_frame(OTHER)).encode(),
    a_state({"/a": [LARGE], "/b": "small"}, [message(LARGE, 1), message(OTHER, 2)]),
    a_state({"/a": OTHER, "/b": "small", "/c": LARGE}, [message(LARGE, 1), message(OTHER, 2)]),
    a_state({"/a": 7, "/c": LARGE}, [message(LARGE, 1), message(LARGE, 2)]),
    a_state({"/a": OTHER}, [message(LARGE, 1)]),
    a_state({"/a": OTHER, "/c": LARGE}, f"[AIMessage(content='{LARGE}', id='1')]"),
]


def meanings(*, releases: bool) -> tuple[list[EventKind], list[bytes], Interpreter]:
    """The events and deltas of the frames, from an interpreter that releases what it can after each."""
    interpreter = Interpreter()
    kinds, deltas = [], []
    for seq, frame in enumerate(FRAMES, 1):
        meaning = interpreter.interpret(frame)
        (kind,) = meaning.kinds
        kinds.append(kind)
        deltas.append(meaning.delta)
        if releases:
            interpreter.release_files(seq, kind)
            interpreter.forget_frames()
    return kinds, deltas, interpreter


def test_later_frames_mean_the_same() -> None:
    kept, _, steady = meanings(releases=False)
    released, _, interpreter = meanings(releases=True)
    assert released == kept
    assert interpreter.released_files == {"/a": 5, "/c": 8}
    assert interpreter.files.by_path == {}
    assert steady.files.by_path.keys() == interpreter.released_files.keys()
    assert interpreter.has_files
    assert interpreter.size_bytes < MIN_RELEASED_BYTES < steady.size_bytes


def test_frames_are_reconstructed_whatever_the_interpreter_has_released() -> None:
    kinds, deltas, _ = meanings(releases=True)
    _, kept_deltas, _ = meanings(releases=False)
    reconstructors = FrameReconstructor(), FrameReconstructor()
    for seq, (kind, *either) in enumerate(zip(kinds, deltas, kept_deltas, strict=True), 1):
        one, other = (
            frames_for(reconstructor, seq, delta, kind)
            for reconstructor, delta in zip(reconstructors, either, strict=True)
        )
        assert one == other


def test_a_takeover_continues_after_released_events() -> None:
    kinds, deltas, _ = meanings(releases=True)
    restored = Interpreter()
    for seq, (kind, delta) in enumerate(zip(kinds, deltas, strict=True), 1):
        restored.restore(kind, delta)
        restored.release_files(seq, kind)
    assert restored.released_files == {"/a": 5, "/c": 8}
    (again,) = restored.interpret(FRAMES[-1]).kinds
    assert isinstance(again, StateUpdate)
    assert (again.files, again.messages) == ((), ())


def test_files_that_were_released_stay_where_a_state_has_only_some() -> None:
    _, _, interpreter = meanings(releases=True)
    (update,) = interpreter.adopt({"/d": File(b"x")}, complete=False)
    assert isinstance(update, StateUpdate)
    assert [(change.path, change.file) for change in update.files] == [("/d", File(b"x"))]
    (update,) = interpreter.adopt({"/d": File(b"x"), "/a": File(OTHER.encode())}, complete=True)
    assert isinstance(update, StateUpdate)
    assert [(change.path, change.file) for change in update.files] == [("/c", None)]
    assert interpreter.released_files == {"/a": 5}
