"""A journal as an AG-UI run: valid for any frames, and the same for a reader that comes back anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from ag_ui.core import Event as AgUiEvent
from ag_ui_validate.pytest_plugin import validate_agui
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from server.domain.errors import InvalidArgument
from server.domain.journal.events import (
    AgentMessage,
    Discontinuity,
    DiscontinuityReason,
    Event,
    EventKind,
    InputAction,
    InputRequested,
    MessageChange,
    Outcome,
    Role,
    RunStarted,
    StateUpdate,
    Terminal,
    ToolCall,
)
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.encoding.event_batch import delimited_event
from server.frames.interpreter import Interpreter
from server.wire.agui import AgUiRun, Place, place_of
from server.wire.codec import ProtobufCodec
from tests.hostile.attacks.recordings import HOSTILE, frames_of
from tests.support.recordings import NAMES, frames
from tests.support.runtime import state_frame

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STARTED = RunStarted(*(UUID(int=number) for number in (1, 2, 3)))
COMPLETED = Terminal(Outcome.COMPLETED, file_count=2)
CODEC = ProtobufCodec()
BEGINNING = Place()
THREAD = UUID(int=9)
#: Frames of a hostile run: some runs have 500 MiB of the same kind.
FIRST_HOSTILE = 3
SCHEMA: TypeAdapter[Any] = TypeAdapter(AgUiEvent)


def kinds_of(raw: Iterable[bytes]) -> list[EventKind]:
    """The kinds of the events that frames become."""
    interpreter = Interpreter()
    return [kind for frame in raw for kind in interpreter.interpret(frame).kinds]


def journal(kinds: Sequence[EventKind], *, per_segment: int = 7) -> list[Segment]:
    """The segments of a journal."""
    encoded = [CODEC.encode(Event(seq, 1, NOON, kind)) for seq, kind in enumerate(kinds, 1)]
    starts = range(0, len(encoded), per_segment)
    return [
        Segment(
            start + 1,
            min(start + per_segment, len(encoded)),
            b"".join(map(delimited_event, encoded[start : start + per_segment])),
            b"",
        )
        for start in starts
    ]


async def turn(size_bytes: int) -> None:
    """A turn of the event loop, which is free."""


async def sent(
    segments: Sequence[Segment], place: Place = BEGINNING, *, can_resume: bool = True
) -> list[tuple[str, dict[str, Any]]]:
    """The ids and events that a reader at a place gets."""
    head = JournalHead(segments[-1].last_seq, 1, 1, terminal=True)
    run = AgUiRun("thread", "run", place, refinement_id=THREAD, can_resume=can_resume, turn=turn)
    found = []
    for segment in segments:
        text = (await run.segment(segment, head)).decode()
        for block in text.split("\n\n")[:-1]:
            first, second = block.split("\n")
            found.append((first.removeprefix("id: "), json.loads(second.removeprefix("data: "))))
        if run.over:
            break
    return found


def check(events: Iterable[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The events, which the protocol's validator and its schema accept."""
    found = [event for _, event in events]
    report = validate_agui(found)
    wrong = [each for each in report.diagnostics if each.severity != "info"]
    assert not wrong
    assert not report.internal_errors
    for event in found:
        SCHEMA.validate_python(event)
    return found


def types(events: Iterable[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


@pytest.mark.parametrize("name", [*NAMES, *HOSTILE])
async def test_every_recording_is_a_valid_run(name: str) -> None:
    raw = frames(name) if name in NAMES else frames_of(name)[:FIRST_HOSTILE]
    events = check(await sent(journal([STARTED, *kinds_of(raw), COMPLETED])))
    assert types(events)[0] == "RUN_STARTED"
    assert types(events)[-1] == "RUN_FINISHED"


@pytest.mark.parametrize("name", NAMES)
async def test_what_the_events_add_up_to_is_what_the_run_made(name: str) -> None:
    kinds = kinds_of(frames(name))
    events = check(await sent(journal([STARTED, *kinds, COMPLETED])))
    state: dict[str, Any] = {}
    for event in events:
        if event["type"] == "STATE_SNAPSHOT":
            state = event["snapshot"]
        for patch in event.get("delta", ()) if event["type"] == "STATE_DELTA" else ():
            _, member, *rest = patch["path"].split("/")
            if rest:
                path = rest[0].replace("~1", "/").replace("~0", "~")
                if patch["op"] == "remove":
                    del state[member][path]
                else:
                    state[member][path] = patch["value"]
            else:
                state[member] = patch["value"]
    interpreter = Interpreter()
    for frame in frames(name):
        interpreter.interpret(frame)
    assert {path: file["sha256"] for path, file in state["files"].items()} == {
        path: file.sha256 for path, file in interpreter.files.by_path.items()
    }
    assert all(file["content"] for file in state["files"].values())
    lists = [kind.todos for kind in kinds if isinstance(kind, StateUpdate) and kind.todos is not None]
    assert [each["content"] for each in state["todos"]] == [each.content for each in (lists or [()])[-1]]
    calls = [event["toolCallId"] for event in events if event["type"] == "TOOL_CALL_START"]
    answered = {event["toolCallId"] for event in events if event["type"] == "TOOL_CALL_RESULT"}
    assert answered
    assert answered <= set(calls)
    assert any(event["type"] == "TEXT_MESSAGE_CONTENT" for event in events)


async def test_a_reader_that_comes_back_after_any_event_gets_exactly_what_follows() -> None:
    kinds = [
        STARTED,
        *kinds_of(frames("short_run")),
        Discontinuity(DiscontinuityReason.RECONNECTED),
        COMPLETED,
    ]
    segments = journal(kinds)
    whole = await sent(segments)
    ids = [event_id for event_id, _ in whole]
    assert len(set(ids)) == len(ids)
    for number, event_id in enumerate(ids, 1):
        # Cut differently, as on another replica.
        for again in (segments, journal(kinds, per_segment=3)):
            assert await sent(again, place_of(event_id)) == whole[number:], event_id


async def test_a_question_ends_the_run_with_an_interrupt_and_what_follows_is_another_run() -> None:
    asked = InputRequested("Delete it?", input_id="q1")
    kinds = [
        STARTED,
        asked,
        *kinds_of([json.dumps(state_frame(files={"/a": {"content": ["x"]}})).encode()]),
        COMPLETED,
    ]
    segments = journal(kinds)
    first = await sent(segments)
    events = check(first)
    assert types(events)[-1] == "RUN_FINISHED"
    (interrupt,) = events[-1]["outcome"]["interrupts"]
    assert interrupt == {
        "id": f"{THREAD}:2:0",
        "reason": "ideo:question",
        "message": "Delete it?",
        "metadata": {"seq": 2, "can_resume": False},
    }
    last_id, _ = first[-1]
    assert last_id == "2"
    after = check(await sent(segments, place_of(last_id)))
    assert types(after) == ["RUN_STARTED", "STATE_DELTA", "RUN_FINISHED"]


def called(*calls: tuple[str, str, str]) -> StateUpdate:
    """A state with a message that has these tool calls: id, name and arguments."""
    message = AgentMessage(id="m", role=Role.AI, tool_calls=tuple(ToolCall(*call) for call in calls))
    return StateUpdate(messages=(MessageChange(1, message),), message_count=2)


async def interrupts(*kinds: EventKind, can_resume: bool = True) -> list[dict[str, Any]]:
    """The interrupts with which a run of these events ends."""
    events = check(await sent(journal([STARTED, *kinds]), can_resume=can_resume))
    found: list[dict[str, Any]] = events[-1]["outcome"]["interrupts"]
    return found


async def test_each_action_of_a_question_is_an_interrupt_of_its_tool_call_with_a_schema_and_an_expiry() -> (
    None
):
    calls = called(("a", "write", '{"x": 1, "y": 2}'), ("b", "write", '{"x": 2}'), ("c", "write", '{"x": 2}'))
    answered = AgentMessage(role=Role.TOOL, text="done", tool_call_id="b")
    asked = InputRequested(
        "…",
        actions=(
            InputAction("write", '{"x":2}', "Write?"),
            InputAction("write", '{"y":2,"x":1}', allowed_decisions=("approve", "respond")),
            InputAction("delete", "{}", allowed_decisions=("reject",)),
        ),
        expires_at=NOON,
    )
    first, second, third = await interrupts(calls, StateUpdate(messages=(MessageChange(2, answered),)), asked)
    assert [each["id"] for each in (first, second, third)] == [f"{THREAD}:4:{number}" for number in (1, 2, 3)]
    assert [each["reason"] for each in (first, second, third)] == ["tool_call", "tool_call", "input_required"]
    # The call that has its result is not the one that is asked about.
    assert (first["toolCallId"], second["toolCallId"]) == ("c", "a")
    assert "toolCallId" not in third
    assert first["message"] == "Write?"
    assert {each["expiresAt"] for each in (first, second, third)} == {"2026-03-01T12:00:00Z"}
    assert first["metadata"]["seq"] == 4
    assert first["metadata"]["action"]["arguments"] == '{"x":2}'
    for interrupt, right, wrong in (
        (first, {"approved": True, "editedArgs": {}}, {"decision": "approve"}),
        (first, {"approved": False, "message": "No."}, {}),
        (second, {"decision": "respond", "message": "Why?"}, {"decision": "edit"}),
        (third, {"approved": False}, {"approved": True, "editedArgs": {}}),
    ):
        validate = Draft202012Validator(interrupt["responseSchema"]).is_valid
        assert (validate(right), validate(wrong)) == (True, False)


async def test_without_a_runtime_that_continues_runs_an_interrupt_says_that_it_has_no_answer() -> None:
    asked = InputRequested("…", actions=(InputAction("write", "{}"),))
    (possible,), (impossible,) = [await interrupts(asked, can_resume=each) for each in (True, False)]
    assert (possible["metadata"]["can_resume"], impossible["metadata"]["can_resume"]) == (True, False)
    assert "responseSchema" in possible
    assert "responseSchema" not in impossible


@pytest.mark.parametrize(
    ("terminal", "expected"),
    [
        (COMPLETED, {"type": "RUN_FINISHED", "outcome": {"type": "success"}, "result": {"file_count": 2}}),
        (
            Terminal(Outcome.CANCELLED, "cancelled", "a user cancelled it"),
            {"type": "RUN_FINISHED", "outcome": {"type": "cancelled"}, "result": {"file_count": 0}},
        ),
        (
            Terminal(Outcome.FAILED, "upstream_error", "it broke"),
            {"type": "RUN_ERROR", "message": "it broke", "code": "upstream_error"},
        ),
    ],
)
async def test_the_last_event_says_how_the_run_ended(terminal: Terminal, expected: dict[str, Any]) -> None:
    *_, last = check(await sent(journal([STARTED, *kinds_of(frames("short_run")[:20]), terminal])))
    ids = {} if terminal.outcome is Outcome.FAILED else {"threadId": "thread", "runId": "run"}
    assert last == {"timestamp": int(NOON.timestamp() * 1000), **ids, **expected}


def test_a_place_is_an_id_and_nothing_else() -> None:
    assert [place_of(each) for each in (None, "", "17", "17.2")] == [
        Place(),
        Place(),
        Place(17, 0),
        Place(17, 2),
    ]
    for wrong in ("x", "-1", "1.", ".1", "1.2.3", "4294967296", "١", "1 2"):
        with pytest.raises(InvalidArgument):
            place_of(wrong)
