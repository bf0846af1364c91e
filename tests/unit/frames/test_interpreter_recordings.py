"""Each recording gives its known files and events, and every frame is reconstructed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.domain.journal.events import AgentMessage, Role, StateUpdate, Token, UpstreamFrame
from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.journal.segments import Segment
from server.domain.runs.runtime import Interpretation
from server.encoding.event_batch import delimited_delta, delimited_event
from server.frames.interpreter import Interpreter
from tests.support.legacy_frames import frames_for
from tests.support.recordings import NAMES, expected, frames
from tests.unit.frames.legacy_form import in_seed_form


def interpreted(name: str) -> tuple[Interpreter, list[Interpretation]]:
    interpreter = Interpreter()
    return interpreter, [interpreter.interpret(frame) for frame in frames(name)]


@pytest.mark.parametrize("name", NAMES)
def test_the_final_files_are_byte_for_byte_the_known_ones(name: str) -> None:
    interpreter, _ = interpreted(name)
    assert interpreter.files.seen
    assert {
        path: {
            "bytes": len(file.content),
            "sha256": file.sha256,
            "created_at": file.created_at,
            "modified_at": file.modified_at,
        }
        for path, file in interpreter.files.by_path.items()
    } == expected(name)["files"]


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_has_its_kind_and_none_stays_uninterpreted(name: str) -> None:
    _, meanings = interpreted(name)
    counts: dict[str, int] = {}
    for meaning in meanings:
        if meaning.end:
            assert not meaning.kinds
            word = "end"
        else:
            (kind,) = meaning.kinds
            word = {StateUpdate: "on_state_update", Token: "on_llm_stream", UpstreamFrame: "error"}[
                type(kind)
            ]
            if isinstance(kind, Token):
                assert not kind.uninterpreted
                assert kind.message_id
                assert kind.node in ("model", "tools")
                assert kind.role is (Role.TOOL if kind.node == "tools" else Role.AI)
            if isinstance(kind, StateUpdate):
                assert not any(change.message.uninterpreted for change in kind.messages)
        counts[word] = counts.get(word, 0) + 1
    assert counts == expected(name)["frames"]
    failed = expected(name)["outcome"] == "failed"
    assert any(meaning.error for meaning in meanings) is failed


def test_an_error_frame_has_its_message_and_place() -> None:
    _, meanings = interpreted("error_mid_stream")
    (error,) = [meaning.error for meaning in meanings if meaning.error]
    assert error.message == "provider stream closed: connection reset by peer"
    assert error.context == "execution_failed"


@pytest.mark.parametrize("name", NAMES)
def test_the_pieces_of_a_message_add_up_to_what_the_state_says(name: str) -> None:
    _, meanings = interpreted(name)
    texts: dict[str, str] = {}
    arguments: dict[tuple[str, int], str] = {}
    final: dict[str, AgentMessage] = {}
    for kind in (kind for meaning in meanings for kind in meaning.kinds):
        if isinstance(kind, Token):
            texts[kind.message_id] = texts.get(kind.message_id, "") + kind.text
            for piece in kind.tool_calls:
                key = (kind.message_id, piece.index)
                arguments[key] = arguments.get(key, "") + piece.arguments
        elif isinstance(kind, StateUpdate):
            final.update({change.message.id: change.message for change in kind.messages})
    compared = 0
    for message in final.values():
        if message.id in texts:
            assert texts[message.id] == message.text
            compared += 1
            for index, call in enumerate(message.tool_calls):
                assert json.loads(arguments[message.id, index]) == json.loads(call.arguments)
    assert compared > 1


def reconstructed(meanings: list[Interpretation], *, through_segments: bool) -> list[Any]:
    """The frames that a reconstructor gives back, with their seq taken off and checked."""
    kinds: list[Any] = []
    deltas: list[bytes] = []
    for meaning in meanings:
        kinds += meaning.kinds or (None,)
        deltas += [meaning.delta, *(b"" for _ in meaning.kinds[1:])]
    if through_segments:
        packed: list[bytes] = []
        for start in range(0, len(kinds), 7):
            part = deltas[start : start + 7]
            batch = b"".join(delimited_event(b"%d" % index) for index in range(len(part)))
            segment = Segment(
                start + 1, start + len(part), batch, b"".join(delimited_delta(delta) for delta in part)
            )
            packed += segment.up_to(start + 3).deltas()
            if segment.last_seq > start + 3:
                packed += segment.after(start + 3).deltas()
        assert packed == deltas
    reconstructor = FrameReconstructor()
    found = []
    for seq, (kind, delta) in enumerate(zip(kinds, deltas, strict=True), start=1):
        for frame in frames_for(
            reconstructor, seq, delta, kind if reconstructor.needs_event(delta) else None
        ):
            value = json.loads(frame)
            assert value.pop("seq") == seq
            found.append(value)
    return found


@pytest.mark.parametrize("through_segments", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_frame_is_reconstructed_as_a_legacy_frame(name: str, through_segments: bool) -> None:
    _, meanings = interpreted(name)
    assert reconstructed(meanings, through_segments=through_segments) == [
        in_seed_form(frame) for frame in frames(name)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_of_a_run_is_a_fraction_of_its_frames(name: str) -> None:
    _, meanings = interpreted(name)
    kept = sum(len(meaning.delta) for meaning in meanings)
    assert kept * 8 < sum(map(len, frames(name)))


def meanings_from(name: str, at: int) -> None:
    """An interpreter restored behind frame `at` goes on like one that never stopped."""
    steady, restored = Interpreter(), Interpreter()
    for frame in frames(name)[:at]:
        meaning = steady.interpret(frame)
        for index, kind in enumerate(meaning.kinds):
            restored.restore(kind, b"" if index else meaning.delta)
    assert restored.files == steady.files
    assert restored.awaiting_input == steady.awaiting_input
    for frame in frames(name)[at : at + 120] + frames(name)[-3:]:
        assert restored.interpret(frame) == steady.interpret(frame)
    assert restored.files == steady.files


@pytest.mark.parametrize("at", range(51))
def test_a_restored_interpreter_goes_on_exactly_at_every_frame_of_a_short_run(at: int) -> None:
    meanings_from("short_run", at)


@pytest.mark.parametrize(
    ("name", "at"),
    [("long_run", at) for at in (1, 2, 100, 101, 700, 1500, 2200, 2250)]
    + [("error_mid_stream", at) for at in (1, 12, 13, 15, 20, 41)],
)
def test_a_restored_interpreter_goes_on_exactly(name: str, at: int) -> None:
    meanings_from(name, at)
