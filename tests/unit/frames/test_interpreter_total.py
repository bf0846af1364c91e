"""For any bytes: no exception, always a meaning, and every frame is reconstructed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.domain.journal.events import Event, EventKind, FrameReason, StateUpdate, UpstreamFrame
from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.proposals.files import FileSet
from server.frames.interpreter import Interpreter
from server.wire.codec import ProtobufCodec
from tests.support.legacy_frames import frames_for
from tests.support.recordings import frames as recorded
from tests.unit.frames.legacy_form import in_seed_form, number

CODEC = ProtobufCodec()
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Answer = TypeVar("Answer")

TEXT = st.text(st.characters(), max_size=12)
WORDS = st.sampled_from(
    [
        "",
        "messages",
        "files",
        "todos",
        "status",
        "result",
        "__interrupt__",
        "raw_event",
        "error",
        "content",
        "x",
    ]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True, allow_infinity=True) | TEXT | WORDS
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | WORDS, inner, max_size=3),
    max_leaves=8,
)
PATHS = st.sampled_from(["/a", "/b", "/c.md", "/\ud800", "/\udfff", "/\ufffd", "/\0"]) | TEXT
CONTENTS = st.sampled_from(
    ["QUJD", "/w==", "a\nb\n", "QU\r\nJD\n", "_w", "QQ===", "data:text/plain;base64,QQ==", "\ud800\0", ""]
)
FILE = st.one_of(
    TEXT,
    st.none(),
    JSON,
    st.fixed_dictionaries(
        {"content": TEXT | st.lists(TEXT, max_size=3) | CONTENTS | st.lists(CONTENTS, max_size=2)},
        optional={
            "encoding": st.sampled_from(["utf-8", "base64", "BASE64", "latin-1", None]) | JSON,
            "created_at": TEXT | SCALARS | JSON,
            "modified_at": TEXT | SCALARS | JSON,
            "x": JSON,
            "\ud800": JSON,
        },
    ),
)
PRINTED = st.sampled_from(
    [
        "[]",
        "[HumanMessage(content='a', id='1')]",
        "[HumanMessage(content='a', id='1'), AIMessage(content=\"it's\", id='2', tool_calls=[{'name': 'f', "
        "'args': {'x': (1, None)}, 'id': 'c'}])]",
        "[HumanMessage(content='a', id='1'), Odd(x=<object at 0x7f>), AIMessage(content=['a', {'type': "
        "'text', 'text': 'b'}, {'type': 'image'}])]",
        "[HumanMessage(content='\\ud800', id='1')]",
        "[HumanMessage(content='a' 'b', id=1), 3]",
        "[don't]",
        "(AIMessageChunk(content='x', id='1'), {'langgraph_node': 'model'})",
        "(AIMessageChunk(content='y', id='1'), {'langgraph_node': 'model'})",
        "(AIMessageChunk(content='', tool_call_chunks=[{'args': 1, 'index': -1}]), {})",
        "(ToolMessage(content=[1], name='t'), {'langgraph_node': <x>})",
        "(" * 300,
        "(X(content=" + "-" * 5000 + "1))",
        "(X(content='\\d'), 1)",
        "[ToolMessage(content='a', id='1', artifact=  it's (x), AIMessage(content='b', id='2')]",
        "(AIMessageChunk(content=[{'type': 'thinking', 'thinking': '\\ud800', 'index': 0}], id='1'), {})",
        "(AIMessageChunk(content='', id='1', tool_call_chunks=[{'name': 'f', 'id': 'a'}]), {})",
        "(AIMessageChunk(content='', id='1', tool_call_chunks=[{'name': 'g', 'id': 'b', 'index': 0}]), {})",
    ]
)
MESSAGE = st.fixed_dictionaries({"role": TEXT | st.just("ai"), "content": JSON})
MESSAGES = PRINTED | PRINTED.map("deque({})".format) | TEXT | MESSAGE | st.lists(JSON | MESSAGE, max_size=3)
DATA = st.fixed_dictionaries(
    {},
    optional={
        "messages": MESSAGES | JSON,
        "files": st.dictionaries(PATHS, FILE, max_size=3) | JSON,
        "todos": st.lists(
            st.fixed_dictionaries({"content": TEXT, "status": TEXT}, optional={"id": SCALARS}), max_size=2
        )
        | JSON,
        "__interrupt__": JSON,
        "status": SCALARS,
        "result": JSON,
        "raw_event": PRINTED | JSON,
        "error": JSON,
        "x": JSON,
    },
)
TYPES = st.sampled_from(["on_state_update", "on_llm_stream", "error", "end", "on_tool_start"])
LIKELY = st.fixed_dictionaries({"event_type": TYPES, "data": DATA}, optional={"seq": SCALARS, "y": JSON})
ODD = st.fixed_dictionaries({}, optional={"event_type": TYPES | JSON, "data": DATA | JSON, "y": JSON})
#: Frames as Python's own writer spells them: escapes, NaN; and with raw characters.
FRAMES = st.one_of(
    LIKELY.map(lambda value: json.dumps(value).encode()),
    LIKELY.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    LIKELY.map(lambda value: json.dumps(value, indent=1).encode()),
    ODD.map(lambda value: json.dumps(value).encode()),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=40),
    st.sampled_from([*recorded("short_run")[::5], *recorded("error_mid_stream")[::4]]),
)


class Journal:
    """What a run's frames become, as the hub would keep it."""

    def __init__(self) -> None:
        self.interpreter = Interpreter()
        self.records: list[tuple[EventKind | None, bytes]] = []
        self.expected: list[Any] = []

    def take(self, frame: bytes) -> None:
        meaning = self.interpreter.interpret(frame)
        if meaning.progress is not None:
            assert not meaning.kinds
            assert not meaning.delta
            return
        assert meaning.delta
        assert bool(meaning.kinds) is not meaning.end
        for index, kind in enumerate(meaning.kinds or (None,)):
            self.records.append((kind, b"" if index else meaning.delta))
        self.expected.append(in_seed_form(frame))

    def reconstructed(self) -> list[Any]:
        reconstructor, found = FrameReconstructor(), []
        for seq, (kind, delta) in enumerate(self.records, start=1):
            for frame in frames_for(reconstructor, seq, delta, kind):
                value = json.loads(frame, parse_constant=_no_constant, parse_float=number)
                assert value.pop("seq") == seq
                found.append(value)
        return found


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@settings(max_examples=150)
@given(st.lists(FRAMES, max_size=6))
@example([b""])
@example([b"\xff"])
@example([b'{"event_type":"on_state_update","data":{"files":{"/a":"\xed\xa0\x80"}}}'])
@example([b'{"event_type":"on_state_update","data":{"files":{"/a":null}}}'])
@example([b'{"event_type":"on_state_update","data":{"files":{"/a":"x"}}}'] * 2)
@example([b'{"event_type":"on_state_update","data":{"messages":"a","messages":"b"}}'])
@example([b'{"event_type":"on_state_update","data":{"x":1e999,"y":1E-999}}'])
@example([b'{"event_type":"on_state_update","data":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"])
@example([b"[" * 100_000])
@example([b'{"a":' * 50_000])
@example([b'{"event_type":"on_tool_start","data":{"x":1e999}}'])
@example([b'{"event_type":"on_state_update","data":{"x":"\x00M"}}'])
@example([b'{"event_type":"error"}', b'{"event_type":"end"}'])
def test_any_frames_are_interpreted_and_reconstructed(frames: list[bytes]) -> None:
    journal = Journal()
    for frame in frames:
        journal.take(frame)
    assert journal.reconstructed() == journal.expected


def test_a_number_that_no_parser_accepts_is_reconstructed_unchanged() -> None:
    digits = b"9" * 5000
    journal = Interpreter()
    reconstructor = FrameReconstructor()
    for seq, event_type in enumerate([b"on_state_update", b"on_tool_start"], start=1):
        meaning = journal.interpret(b'{"event_type":"%b","data":{"x":[%b]}}' % (event_type, digits))
        (frame,) = frames_for(reconstructor, seq, meaning.delta, meaning.kinds[0])
        assert digits in frame


def at_depth(depth: int, function: Callable[[], Answer]) -> Answer:
    """The function's answer, called with so many more frames on the stack."""
    return function() if depth == 0 else at_depth(depth - 1, function)


@pytest.mark.parametrize("levels", [500, 900, 960, 970, 975, 980, 983, 985, 990, 1000, 2000])
@pytest.mark.parametrize("event_type", ["on_state_update", "on_tool_start"])
def test_json_as_deep_as_the_parser_takes_is_read_the_same_from_anywhere(
    levels: int, event_type: str
) -> None:
    deep = b'{"messages":"[]","files":{"/a":"x"},"deep":%b}' % (b"[" * levels + b"]" * levels)
    frame = b'{"event_type":"%b","data":%b}' % (event_type.encode(), deep)
    steady = Interpreter()
    meaning = steady.interpret(frame)
    assert at_depth(300, lambda: Interpreter().interpret(frame)) == meaning

    restored = Interpreter()
    at_depth(300, lambda: restored.restore(meaning.kinds[0], meaning.delta))
    assert restored.files == steady.files
    assert restored.files.seen is (isinstance(meaning.kinds[0], StateUpdate))
    after = b'{"event_type":"on_state_update","data":{"messages":"[]","files":{},"deep":1}}'
    assert restored.interpret(after) == steady.interpret(after)

    def legacy() -> list[bytes]:
        return frames_for(FrameReconstructor(), 1, meaning.delta, meaning.kinds[0])

    assert at_depth(300, legacy) == legacy()


@pytest.mark.parametrize("levels", [60, 100, 500, 900, 960, 1000])
def test_deep_arguments_of_a_message_are_read_the_same_from_anywhere(levels: int) -> None:
    deep = "[" * levels + "]" * levels
    message = f'{{"type":"ai","content":"x","tool_calls":[{{"name":"f","id":"c","args":{{"a":{deep}}}}}]}}'
    listed = f"[AIMessage(content='x', tool_calls=[{{'name': 'f', 'id': 'c', 'args': {{'a': {deep}}}}}])]"
    for messages in (f"[{message}]", json.dumps(listed)):
        frame = f'{{"event_type":"on_state_update","data":{{"messages":{messages}}}}}'.encode()
        meaning = Interpreter().interpret(frame)
        assert at_depth(300, lambda frame=frame: Interpreter().interpret(frame)) == meaning  # type: ignore[misc]


@settings(max_examples=80)
@given(st.lists(FRAMES, max_size=6), st.lists(FRAMES, min_size=1, max_size=4))
def test_a_restored_interpreter_gives_what_a_steady_one_gives(
    before: list[bytes], after: list[bytes]
) -> None:
    steady, restored = Interpreter(), Interpreter()
    for frame in before:
        meaning = steady.interpret(frame)
        for index, kind in enumerate(meaning.kinds):
            # As the journal has it.
            stored = CODEC.decode(CODEC.encode(Event(1, 1, NOON, kind))).kind
            restored.restore(stored, b"" if index else meaning.delta)
    for frame in after:
        assert restored.files == steady.files
        assert restored.files_unread == steady.files_unread
        assert restored.awaiting_input == steady.awaiting_input
        assert restored.interpret(frame) == steady.interpret(frame)
    assert restored.files == steady.files


@settings(max_examples=80)
@given(st.lists(FRAMES, max_size=6))
def test_the_file_changes_add_up_to_the_files(frames: list[bytes]) -> None:
    interpreter = Interpreter()
    files: dict[str, Any] = {}
    for frame in frames:
        for kind in interpreter.interpret(frame).kinds:
            if isinstance(kind, StateUpdate):
                assert [change.path for change in kind.files] == sorted(change.path for change in kind.files)
                for change in kind.files:
                    assert change.added is (change.path not in files)
                    if change.file is None:
                        del files[change.path]
                    else:
                        assert files.get(change.path) != change.file
                        files[change.path] = change.file
    assert interpreter.files == FileSet(files, interpreter.files.seen, interpreter.files.unread)


@given(st.binary(max_size=60))
def test_bytes_that_are_not_a_frame_are_kept_as_they_came(frame: bytes) -> None:
    (kind,) = Interpreter().interpret(frame).kinds
    assert kind == UpstreamFrame("", FrameReason.MALFORMED, frame)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(TEXT, st.sampled_from(["a", "b"]), st.sampled_from(["model", "tools"])), max_size=8)
)
def test_a_remembered_piece_is_read_as_a_fresh_one(pieces: list[tuple[str, str, str]]) -> None:
    """The shortcuts for like frames change no result."""
    memory = Interpreter()
    for text, message_id, node in pieces:
        raw = f"(AIMessageChunk(content={text!r}, id={message_id!r}), {{'langgraph_node': {node!r}}})"
        frame = json.dumps({"event_type": "on_llm_stream", "data": {"raw_event": raw}}).encode()
        (token,) = memory.interpret(frame).kinds
        assert token == Interpreter().interpret(frame).kinds[0]
        assert (token.text, token.message_id, token.node) == (text, message_id, node)  # type: ignore[union-attr]


@settings(max_examples=100)
@given(st.lists(st.lists(st.tuples(st.sampled_from(["Human", "AI", "Odd"]), TEXT), max_size=5), max_size=4))
def test_a_message_list_is_read_the_same_whatever_came_before(
    lists: list[list[tuple[str, str]]],
) -> None:
    """The incremental reading of a growing list changes no result."""
    memory = Interpreter()
    state: dict[int, Any] = {}
    for messages in lists:
        for upto in range(len(messages) + 1):
            printed = ", ".join(f"{name}Message(content={text!r})" for name, text in messages[:upto])
            frame = json.dumps(
                {"event_type": "on_state_update", "data": {"messages": f"[{printed}]"}}
            ).encode()
            (update,) = memory.interpret(frame).kinds
            (whole,) = Interpreter().interpret(frame).kinds
            assert isinstance(update, StateUpdate)
            assert isinstance(whole, StateUpdate)
            assert update.message_count == whole.message_count == upto
            state = {index: message for index, message in state.items() if index < upto}
            for change in update.messages:
                assert state.get(change.index) != change.message
                state[change.index] = change.message
            assert state == {change.index: change.message for change in whole.messages}
            assert [state[index].text for index in range(upto)] == [text for _, text in messages[:upto]]
