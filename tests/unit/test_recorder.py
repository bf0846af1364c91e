"""What `ideo record` writes of a run gives the same events when it is played again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st

from ide_orchestrator.v1.event_pb2 import Event as EventMessage
from server.cli.recorder import RunNotes
from server.domain.journal.events import (
    Event,
    EventKind,
    InputAnswered,
    Outcome,
    RunStarted,
    Terminal,
    UpstreamFrame,
)
from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.frames.interpreter import Interpreter
from server.replay.recording import frame_of
from server.wire.codec import ProtobufCodec
from tests.support.legacy_frames import frames_for
from tests.support.recordings import NAMES, frames

CODEC = ProtobufCodec()
NOW = datetime(2026, 11, 27, tzinfo=UTC)
ID = UUID(int=1)
ANSWER = InputAnswered(1, "", ID, ("approve",))
END = b'{"event_type":"end","data":{}}'


def journal(
    received: Iterable[bytes | InputAnswered], end: Terminal | None
) -> list[tuple[dict[str, Any], list[str]]]:
    """The events of a run with these frames, each with its legacy frames. end: the terminal event."""
    interpreter, legacy = Interpreter(), FrameReconstructor()
    kinds: list[tuple[EventKind, bytes]] = [(RunStarted(ID, ID, ID), b"")]
    for frame in received:
        if isinstance(frame, InputAnswered):
            kinds.append((frame, b""))
            interpreter.restore(frame, b"")
            continue
        meaning = interpreter.interpret(frame)
        if meaning.end:
            if end is not None and end.outcome is Outcome.COMPLETED:
                kinds.append((end, meaning.delta))
            break
        kinds += [(kind, b"" if at else meaning.delta) for at, kind in enumerate(meaning.kinds)]
    if end is not None and not isinstance(kinds[-1][0], Terminal):
        kinds.append((end, b""))
    found = []
    for seq, (kind, delta) in enumerate(kinds, 1):
        message = MessageToDict(
            EventMessage.FromString(CODEC.encode(Event(seq, 1, NOW, kind))), preserving_proto_field_name=True
        )
        found.append((message, [text.decode() for text in frames_for(legacy, seq, delta, kind)]))
    return found


def recorded(events: Sequence[tuple[dict[str, Any], list[str]]]) -> list[list[str]]:
    """The frames of each part of the run's recording."""
    notes = RunNotes()
    for event, _ in events:
        notes.add(event)
    parts: list[list[str]] = [[] for _ in range(notes.parts)]
    for event, legacy in events:
        for frame in legacy:
            if "seq" in json.loads(frame):
                assert event["seq"] <= notes.last_frame_seq
                parts[notes.part_of(event["seq"]) - 1] += notes.lines(event["seq"], frame)
    for number, part in enumerate(parts, 1):
        part += filter(None, [notes.last_line(number)])
    assert not any("\n" in line for part in parts for line in part)
    return [[frame_of(line) for line in part] for part in parts]


def meanings(received: Iterable[str | bytes]) -> list[EventKind]:
    """The events of frames; those that are kept as they came, with their JSON if it is some."""
    interpreter = Interpreter()
    found: list[EventKind] = []
    for frame in received:
        found += interpreter.interpret(frame if isinstance(frame, bytes) else frame.encode()).kinds
    return [CODEC.decode(CODEC.encode(Event(1, 1, NOW, kind))).kind for kind in map(as_json, found)]


def as_json(kind: EventKind) -> EventKind:
    if not isinstance(kind, UpstreamFrame):
        return kind
    try:
        value = json.loads(kind.body)
    except (ValueError, RecursionError):
        return kind
    if not isinstance(value, dict):
        return kind
    return UpstreamFrame(kind.event_type, kind.reason, json.dumps(value, sort_keys=True).encode())


DONE = Terminal(Outcome.COMPLETED, file_count=1)


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_run_has_the_events_of_the_original(name: str) -> None:
    end = Terminal(Outcome.FAILED, "upstream_error", "x") if "error" in name else DONE
    [found] = recorded(journal(frames(name), end))
    assert meanings(found) == meanings(frames(name))
    assert json.loads(found[-1])["event_type"] == "end"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
ODD = st.one_of(
    st.builds(
        lambda kind, data: json.dumps({"event_type": kind, "data": data}).encode(),
        st.sampled_from(["on_llm_stream", "on_state_update", "error", "custom", "unknown", "a\nb"]),
        VALUES,
    ),
    st.builds(
        lambda value, indent: json.dumps(value, indent=indent).encode(), VALUES, st.sampled_from([None, 2])
    ),
    st.text(max_size=20).map(lambda text: text.encode()),
)


@given(st.lists(st.sampled_from(frames("short_run")[:20]) | ODD, min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_whatever_the_runtime_sends_is_recorded_so_that_it_means_the_same(received: list[bytes]) -> None:
    received = [frame for frame in received if not Interpreter().interpret(frame).end]
    kept = [frame for frame in received if Interpreter().interpret(frame).progress is None]
    if not kept:
        return
    [found] = recorded(journal([*received, END], DONE))
    assert meanings(found) == meanings(kept)


@pytest.mark.parametrize(
    ("end", "last"),
    [
        (DONE, ["end"]),
        (Terminal(Outcome.FAILED, "upstream_error", "the state says so"), ["error", "end"]),
        (Terminal(Outcome.FAILED, "empty_result", "no files"), ["end"]),
        (Terminal(Outcome.FAILED, "upstream_silent", "x"), ["on_state_update"]),
        (Terminal(Outcome.CANCELLED, "cancelled", "x"), ["on_state_update"]),
        (None, ["on_state_update"]),
    ],
)
def test_a_recording_ends_only_where_the_runtime_said_so(end: Terminal | None, last: list[str]) -> None:
    state = json.dumps({"event_type": "on_state_update", "data": {"files": {"/a": "b"}}}).encode()
    [found] = recorded(journal([state], end))
    assert [json.loads(frame)["event_type"] for frame in found[-len(last) :]] == last


ASKED = json.dumps(
    {
        "event_type": "on_state_update",
        "data": {"files": {}, "__interrupt__": [{"value": "Go on?", "id": "1"}]},
    }
).encode()
NEXT = json.dumps({"event_type": "on_state_update", "data": {"files": {"/a": "b"}}}).encode()


@pytest.mark.parametrize(
    ("end", "ends"),
    [
        (DONE, [True, True]),
        (Terminal(Outcome.CANCELLED, "cancelled", "x"), [True, False]),
        (None, [True, False]),
    ],
)
def test_what_came_after_an_answer_is_a_part_of_its_own(end: Terminal | None, ends: list[bool]) -> None:
    parts = recorded(journal([ASKED, ANSWER, NEXT], end))
    assert [json.loads(part[-1])["event_type"] == "end" for part in parts] == ends
    assert meanings(parts[0]) == meanings([ASKED])
    assert meanings(parts[1]) == meanings([NEXT])


@pytest.mark.parametrize("end", [None, Terminal(Outcome.FAILED, "input_not_given", "x")])
def test_a_run_that_waits_for_an_answer_does_so_again(end: Terminal | None) -> None:
    [found] = recorded(journal([ASKED], end))
    assert [json.loads(frame)["event_type"] for frame in found] == ["on_state_update", "end"]
