"""Each shape that the runtime sends, one rule per test."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.domain.journal.content import ContentPart, OtherContent
from server.domain.journal.events import (
    AgentMessage,
    EventKind,
    FileChange,
    FrameReason,
    InputRequested,
    MessageChange,
    Role,
    StateUpdate,
    Todo,
    Token,
    ToolCall,
    ToolCallPiece,
    UnreadFile,
    UpstreamFrame,
)
from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.proposals.files import File
from server.domain.runs.runtime import Interpretation, UpstreamError
from server.frames.interpreter import Interpreter
from tests.support.legacy_frames import frames_for


@pytest.fixture
def interpreter() -> Interpreter:
    return Interpreter()


def frame(event_type: str, **data: Any) -> bytes:
    return json.dumps({"event_type": event_type, "data": data}).encode()


def state(interpreter: Interpreter, **data: Any) -> StateUpdate:
    update = interpreter.interpret(frame("on_state_update", **data)).kinds[0]
    assert isinstance(update, StateUpdate)
    return update


def token(interpreter: Interpreter, **data: Any) -> EventKind:
    return interpreter.interpret(frame("on_llm_stream", **data)).kinds[0]


def printed(*messages: str) -> str:
    return f"[{', '.join(messages)}]"


# Files.


@pytest.mark.parametrize(
    "value",
    ["a\n", {"content": ["a", ""]}, {"content": "a\n"}, {"content": "a\n", "encoding": "utf-8"}],
)
def test_the_three_forms_of_a_file_are_one(interpreter: Interpreter, value: Any) -> None:
    assert state(interpreter, files={"/a": value}).files == (FileChange("/a", File(b"a\n"), added=True),)


def test_base64_is_a_binary_file_and_other_content_stays_text(interpreter: Interpreter) -> None:
    update = state(
        interpreter,
        files={
            "/b": {"content": "/w==", "encoding": "base64"},
            "/t": {"content": "?", "encoding": "base64"},
        },
    )
    assert [change.file for change in update.files] == [
        File(b"\xff", is_text=False),
        File(b"?", extra={"encoding": '"base64"'}),
    ]


def test_a_whole_map_becomes_its_difference_in_path_order(interpreter: Interpreter) -> None:
    state(interpreter, files={"/keep": "k", "/edit": "1", "/gone": "g", "/null": "n"})
    update = state(interpreter, files={"/new": "n", "/keep": "k", "/edit": "2", "/null": None})
    assert update.files == (
        FileChange("/edit", File(b"2")),
        FileChange("/gone", None),
        FileChange("/new", File(b"n"), added=True),
        FileChange("/null", None),
    )


def test_an_edit_of_the_times_alone_is_a_change(interpreter: Interpreter) -> None:
    state(interpreter, files={"/a": {"content": "x", "modified_at": "1"}})
    (change,) = state(interpreter, files={"/a": {"content": "x", "modified_at": "2"}}).files
    assert change == FileChange("/a", File(b"x", modified_at="2"))


def test_the_same_file_in_another_form_is_not_a_change(interpreter: Interpreter) -> None:
    state(interpreter, files={"/a": "x\ny"})
    assert state(interpreter, files={"/a": {"content": ["x", "y"]}}).files == ()


def test_a_missing_files_key_changes_nothing_and_an_empty_map_deletes_all(interpreter: Interpreter) -> None:
    assert not interpreter.files.seen
    state(interpreter, files={"/a": "x"})
    assert state(interpreter, messages="[]").files == ()
    assert interpreter.files.by_path.keys() == {"/a"}
    assert state(interpreter, files={}).files == (FileChange("/a", None),)
    assert interpreter.files.seen
    assert not interpreter.files.by_path


@pytest.mark.parametrize("value", [None, "{'/a': <File>", [], 3])
def test_files_that_are_not_a_map_are_kept_as_an_extra_key_and_change_nothing(
    interpreter: Interpreter, value: Any
) -> None:
    state(interpreter, files={"/a": "x"})
    update = state(interpreter, files=value)
    assert update.files == ()
    assert update.extra == {"files": json.dumps(value)}
    assert interpreter.files.by_path.keys() == {"/a"}


def test_an_entry_that_is_not_a_file_is_reported_once_and_its_earlier_version_stays(
    interpreter: Interpreter,
) -> None:
    state(interpreter, files={"/a": "x"})
    update = state(interpreter, files={"/a": 7, "/b": {"size": 1}})
    assert update.files == ()
    assert update.unread_files == (UnreadFile("/a", "7"), UnreadFile("/b", '{"size": 1}'))
    assert interpreter.files.by_path == {"/a": File(b"x")}
    assert state(interpreter, files={"/a": 7, "/b": {"size": 1}}).unread_files == ()


def test_a_path_is_an_opaque_key(interpreter: Interpreter) -> None:
    paths = ["", "//", "../x", "caf\u00e9", "cafe\u0301", "a b%#\u0000", "\ud800"]
    update = state(interpreter, files=dict.fromkeys(paths, "x"))
    assert {change.path for change in update.files} == set(paths)


def test_adopted_files_become_changes_and_a_legacy_frame(interpreter: Interpreter) -> None:
    state(interpreter, messages="hello", files={"/a": "x", "/b": "y"})
    (update,) = interpreter.adopt({"/a": File(b"x"), "/c": File(b"z\n")})
    assert update == StateUpdate(
        message_count=1, files=(FileChange("/b", None), FileChange("/c", File(b"z\n"), added=True))
    )
    assert interpreter.adopt({"/a": File(b"x"), "/c": File(b"z\n")}) == ()
    reconstructor = FrameReconstructor()
    (reconstructed,) = frames_for(
        reconstructor, 1, b"", StateUpdate(files=(FileChange("/a", File(b"x"), added=True),))
    )
    assert json.loads(reconstructed)["data"] == {"files": {"/a": {"content": ["x"]}}}


# Messages.


def test_messages_are_read_from_their_printed_form(interpreter: Interpreter) -> None:
    update = state(
        interpreter,
        messages=printed(
            "SystemMessage(content='be kind')",
            "HumanMessage(content='a, [b]', additional_kwargs={'f': <function x at 0x1>}, id='1')",
            "AIMessage(content=[{'text': 'x', 'type': 'text'}, 'y'], id='2', tool_calls=[{'name': 'f', "
            "'args': {'p': \"it's\", 'n': None}, 'id': 'c1', 'type': 'tool_call'}])",
            "ToolMessage(content='ok', name='f', id='3', tool_call_id='c1')",
        ),
    )
    assert update.message_count == 4
    assert [change.message for change in update.messages] == [
        AgentMessage(role=Role.SYSTEM, text="be kind"),
        AgentMessage(id="1", role=Role.HUMAN, text="a, [b]"),
        AgentMessage(
            id="2", role=Role.AI, text="xy", tool_calls=(ToolCall("c1", "f", '{"p": "it\'s", "n": null}'),)
        ),
        AgentMessage(id="3", role=Role.TOOL, text="ok", name="f", tool_call_id="c1"),
    ]


def test_only_new_and_changed_messages_are_in_an_update(interpreter: Interpreter) -> None:
    one, two, other = "HumanMessage(content='1')", "AIMessage(content='2')", "AIMessage(content='3')"
    state(interpreter, messages=printed(one))
    assert state(interpreter, messages=printed(one, two)).messages == (
        MessageChange(1, AgentMessage(role=Role.AI, text="2")),
    )
    assert state(interpreter, messages=printed(one, two)).messages == ()
    assert state(interpreter, messages=printed(one, other)).messages == (
        MessageChange(1, AgentMessage(role=Role.AI, text="3")),
    )
    cut = state(interpreter, messages=printed(one))
    assert (cut.messages, cut.message_count) == ((), 1)
    assert state(interpreter, files={}).message_count == 1


def test_a_message_that_cannot_be_read_stays_printed_and_spoils_no_other(
    interpreter: Interpreter,
) -> None:
    update = state(
        interpreter, messages=printed("HumanMessage(content='1')", "<Odd (x>", "AIMessage(content=y)")
    )
    assert [change.message for change in update.messages] == [
        AgentMessage(role=Role.HUMAN, text="1"),
        AgentMessage(text="<Odd (x>", uninterpreted=True),
        AgentMessage(text="AIMessage(content=y)", uninterpreted=True),
    ]


def test_plain_text_is_one_uninterpreted_message(interpreter: Interpreter) -> None:
    assert state(interpreter, messages="Processing...").messages == (
        MessageChange(0, AgentMessage(text="Processing...", uninterpreted=True)),
    )


def test_messages_as_json_are_read_with_role_words_and_in_the_frameworks_form(
    interpreter: Interpreter,
) -> None:
    update = state(
        interpreter,
        messages=[
            {"role": "user", "content": "hi"},
            {
                "type": "ai",
                "data": {"content": "yo", "id": "2", "tool_calls": [{"name": "f", "args": {}, "id": "c"}]},
            },
            "plain",
            {"role": 3},
        ],
    )
    assert [change.message for change in update.messages] == [
        AgentMessage(role=Role.HUMAN, text="hi"),
        AgentMessage(id="2", role=Role.AI, text="yo", tool_calls=(ToolCall("c", "f", "{}"),)),
        AgentMessage(text="plain", uninterpreted=True),
        AgentMessage(text='{"role": 3}', uninterpreted=True),
    ]


@pytest.mark.parametrize("block", [{"type": []}, {"type": {"of": "it"}}, {"text": 1}])
def test_a_block_of_an_unknown_form_is_other_content_and_no_text(
    interpreter: Interpreter, block: dict[str, Any]
) -> None:
    message = {"role": "ai", "content": ["a", block]}
    (change,) = state(interpreter, messages=[message]).messages
    assert change.message.text == "a"
    assert change.message.parts == (ContentPart(OtherContent("", json.dumps(block))),)


def test_nothing_in_a_message_is_ever_evaluated(interpreter: Interpreter) -> None:
    update = state(interpreter, messages=printed("AIMessage(content=__import__('os').abort())"))
    assert update.messages[0].message.uninterpreted


def test_a_growing_conversation_costs_linear_time(interpreter: Interpreter) -> None:
    """Two thousand frames, each with all messages so far: tens of millions of characters."""
    messages = []
    for number in range(2000):
        messages.append(f"AIMessage(content='message {number} and some more of its text', id='{number}')")
        assert len(state(interpreter, messages=printed(*messages)).messages) == 1


# Todos, other keys, requests.


def test_todos_are_in_an_update_when_they_change(interpreter: Interpreter) -> None:
    todo = {"content": "write", "status": "pending"}
    assert state(interpreter, todos=[todo]).todos == (Todo("write", "pending"),)
    assert state(interpreter, todos=[todo]).todos is None
    assert state(interpreter, messages="[]").todos is None
    assert state(interpreter, todos=[]).todos == ()


def test_todos_of_an_unknown_form_and_unknown_members_are_kept_as_an_extra_key(
    interpreter: Interpreter,
) -> None:
    assert state(interpreter, todos="[Todo()]").extra == {"todos": '"[Todo()]"'}
    update = state(interpreter, todos=[{"content": "a", "status": "b", "owner": "c"}])
    assert update.todos == (Todo("a", "b"),)
    assert json.loads(update.extra["todos"])[0]["owner"] == "c"


def test_unknown_keys_are_in_an_update_when_new_or_different(interpreter: Interpreter) -> None:
    assert state(interpreter, files={}, hitl_edited_tool_calls=[1], n=1).extra == {
        "hitl_edited_tool_calls": "[1]",
        "n": "1",
    }
    assert state(interpreter, files={}, hitl_edited_tool_calls=[1], n=2).extra == {"n": "2"}


def test_an_interrupt_asks_for_input_once_and_stays_open_whatever_state_follows(
    interpreter: Interpreter,
) -> None:
    asked = frame("on_state_update", messages="[]", __interrupt__="(Interrupt(value={}, id='1'),)")
    kinds = interpreter.interpret(asked).kinds
    assert kinds[1:] == (InputRequested("(Interrupt(value={}, id='1'),)", "1"),)
    assert interpreter.awaiting_input
    assert len(interpreter.interpret(asked).kinds) == 1
    assert interpreter.awaiting_input
    for sibling in ({}, {"__interrupt__": "[]"}, {"__interrupt__": None}, {"files": {"/a": "x"}}):
        state(interpreter, messages="[]", **sibling)
        assert interpreter.awaiting_input
    assert len(interpreter.interpret(asked).kinds) == 1


def test_another_interrupt_is_another_request(interpreter: Interpreter) -> None:
    for number in "12":
        asked = f"(Interrupt(value={{}}, id='{number}'),)"
        kinds = interpreter.interpret(frame("on_state_update", messages="[]", __interrupt__=asked)).kinds
        assert kinds[1:] == (InputRequested(asked, number),)


def test_a_pollers_summary_does_not_withdraw_a_request(interpreter: Interpreter) -> None:
    state(interpreter, messages="[]", __interrupt__="(Interrupt(value={}, id='1'),)")
    state(interpreter, messages="Execution completed", files={}, result={})
    assert interpreter.awaiting_input


QUESTION = "(Interrupt(value={'ok?': 1}, id='1'),)"


def restored_from(*frames: bytes) -> tuple[Interpreter, Interpreter]:
    """An interpreter of the frames, and one that read their events."""
    steady, restored = Interpreter(), Interpreter()
    for each in frames:
        meaning = steady.interpret(each)
        for index, kind in enumerate(meaning.kinds):
            restored.restore(kind, b"" if index else meaning.delta)
    return steady, restored


@pytest.mark.parametrize(
    "value", [QUESTION, [{"value": "q"}], {"value": "q"}, "What?", 5, 0, True, [[]], [0]]
)
@pytest.mark.parametrize("event_type", ["on_state_update", "on_updates", "on_event", "on_chain_end"])
def test_a_frame_with_an_interrupt_asks_for_input_whatever_its_type(event_type: str, value: Any) -> None:
    asked = frame(event_type, __interrupt__=value)
    request = InputRequested(
        value if isinstance(value, str) else json.dumps(value), "1" if value == QUESTION else ""
    )
    assert Interpreter().interpret(asked).kinds[1:] == (request,)
    for interpreter in restored_from(asked):
        assert interpreter.awaiting_input
        assert len(interpreter.interpret(asked).kinds) == 1


EMPTY = ["()", "[]", "{}", "", [], {}, "None", None, False]


@pytest.mark.parametrize("value", EMPTY)
@pytest.mark.parametrize("event_type", ["on_state_update", "on_event"])
def test_an_empty_interrupt_asks_for_nothing(event_type: str, value: Any) -> None:
    for interpreter in restored_from(frame(event_type, messages="[]", __interrupt__=value)):
        assert not interpreter.awaiting_input


@pytest.mark.parametrize("value", [b"[ ]", b"{ }", b"[\n]", b" null"])
def test_an_empty_interrupt_may_have_white_space(value: bytes) -> None:
    body = b'{"event_type":"on_state_update","data":{"__interrupt__":' + value + b"}}"
    assert not Interpreter().interpret(body).kinds[1:]


@pytest.mark.parametrize(
    ("value", "asks"), [("()", True), ([], True), ("[]", True), ("", True), (None, False), ("None", False)]
)
def test_an_empty_interrupt_among_the_updates_is_a_breakpoint(value: Any, asks: bool) -> None:
    part = {"type": "updates", "ns": [], "data": {"__interrupt__": value}}
    for body in (frame("on_updates", __interrupt__=value), json.dumps(part).encode()):
        for interpreter in restored_from(body):
            assert interpreter.awaiting_input is asks


def test_an_interrupt_in_a_sub_agents_updates_or_an_error_is_not_the_agents() -> None:
    part = {"type": "updates", "ns": ["tools:1"], "data": {"__interrupt__": QUESTION}}
    for body in (json.dumps(part).encode(), frame("error", error="e", __interrupt__=QUESTION)):
        for interpreter in restored_from(body):
            assert not interpreter.awaiting_input


# Whether the last file map was read.

GOOD = {"/a": "x"}


@pytest.mark.parametrize(
    ("maps", "unread"),
    [
        ([GOOD], False),
        ([GOOD, {}], False),
        ([GOOD, {"/b": None}], False),
        ([GOOD, ["/a", "/b"]], True),
        ([GOOD, 5], True),
        ([GOOD, None], True),
        ([GOOD, True], True),
        ([GOOD, "<FileMap object at 0x7f>"], True),
        ([GOOD, "{'/a': {'content': 'x'}, '/b': <object>}"], True),
        ([GOOD, "{'/b': <object>}"], True),
        ([GOOD, GOOD | {"/b": 5}], True),
        ([GOOD, {"/a": 5}], True),
        ([5], True),
        ([5, GOOD], False),
        ([GOOD | {"/b": 5}, GOOD], False),
    ],
)
def test_a_file_map_that_is_not_wholly_read_is_known_to_be(maps: list[Any], unread: bool) -> None:
    frames = [frame("on_state_update", messages="[]", files=each) for each in maps]
    summary = frame("on_state_update", messages="Execution completed", files={}, result={})
    for behind in (
        [],
        [frame("on_state_update", messages="[]")],
        [summary],
        [frame("on_llm_stream", messages="x")],
    ):
        for interpreter in restored_from(*frames, *behind):
            assert interpreter.files_unread is unread


# Pollers.


def test_a_progress_frame_is_not_an_event(interpreter: Interpreter) -> None:
    beat = frame("on_state_update", messages="Execution in progress... (3.0s)", status="running")
    assert interpreter.interpret(beat) == Interpretation(progress="Execution in progress... (3.0s)")


def test_a_pollers_summary_changes_no_files_or_messages(interpreter: Interpreter) -> None:
    state(interpreter, messages=printed("HumanMessage(content='1')"), files={"/a": "x"})
    result = {"message": "Execution completed"}
    meaning = interpreter.interpret(
        frame("on_state_update", messages="Execution completed", files={}, result=result)
    )
    assert meaning.polled
    (update,) = meaning.kinds
    assert isinstance(update, StateUpdate)
    assert (update.files, update.messages, update.message_count) == ((), (), 1)
    assert update.extra == {"messages": '"Execution completed"', "result": json.dumps(result)}
    assert interpreter.files.by_path.keys() == {"/a"}


SENTENCE, PRINTED = "Execution completed", "[HumanMessage(content='hi', id='1')]"


@pytest.mark.parametrize(
    "data",
    [
        {"messages": SENTENCE},
        {"messages": SENTENCE, "files": {}},
        {"messages": SENTENCE, "files": None, "result": None},
        {"messages": SENTENCE, "files": {}, "result": {"message": SENTENCE}},
        {"messages": SENTENCE, "files": {}, "result": {"answer": 42}, "status": "completed"},
    ],
)
def test_a_poll_summary_is_known_by_its_sentence(interpreter: Interpreter, data: dict[str, Any]) -> None:
    state(interpreter, messages=PRINTED, files={"/a": "x"})
    assert interpreter.interpret(frame("on_state_update", **data)).polled
    assert interpreter.files.by_path.keys() == {"/a"}


@pytest.mark.parametrize(
    ("data", "left"),
    [
        ({"messages": SENTENCE, "files": {"/b": "x"}, "result": {"message": SENTENCE}}, {"/b"}),
        ({"messages": PRINTED, "files": {}, "result": "nothing left"}, set()),
        ({"messages": PRINTED, "files": {}, "result": {"message": SENTENCE}}, set()),
        ({"messages": PRINTED, "files": {}, "status": "completed"}, set()),
        ({"messages": "[]", "files": {}, "result": None, "status": "done"}, set()),
        ({"messages": [], "files": {}, "status": "done"}, set()),
        ({"messages": "All done", "files": {}, "result": {"message": "All done"}}, set()),
        ({"messages": SENTENCE, "files": {}, "score": 3}, set()),
        ({"files": {}, "result": {"message": SENTENCE}}, set()),
        ({"files": {"/b": "x"}, "status": "completed"}, {"/b"}),
        ({"messages": PRINTED, "result": "kept"}, {"/a"}),
    ],
)
def test_a_state_of_an_agent_with_members_of_a_poller_is_the_agents(
    interpreter: Interpreter, data: dict[str, Any], left: set[str]
) -> None:
    state(interpreter, messages=PRINTED, files={"/a": "x"})
    assert not interpreter.interpret(frame("on_state_update", **data)).polled
    assert interpreter.files.by_path.keys() == left


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ("[HumanMessage(content='hi', id='1')]", "planning"),
        ("[]", "running"),
        ([], "running"),
        ("Looking for sources", "running"),
        ("Execution in progress", "running"),
        ("Execution in progress... (3.0s) more", "running"),
        ("Execution in progress... (3.0s)", {"step": 1}),
        ("Execution in progress... (3.0s)", None),
    ],
)
def test_a_state_of_an_agent_with_a_status_is_not_progress(
    interpreter: Interpreter, messages: Any, status: Any
) -> None:
    meaning = interpreter.interpret(frame("on_state_update", messages=messages, status=status))
    assert (meaning.progress, len(meaning.kinds)) == (None, 1)


@pytest.mark.parametrize("waited", ["0", "3.0", "12", "299.97"])
def test_a_pollers_progress_is_known_by_its_sentence(interpreter: Interpreter, waited: str) -> None:
    sentence = f"Execution in progress... ({waited}s)"
    beat = frame("on_state_update", messages=sentence, status="pending")
    assert interpreter.interpret(beat).progress == sentence


# Tokens.


def test_a_piece_of_text_has_its_message_and_node(interpreter: Interpreter) -> None:
    raw = (
        "(AIMessageChunk(content='it\\'s\\n', additional_kwargs={}, id='m', tool_call_chunks=[], "
        "chunk_position='last'), {'langgraph_node': 'model', 'x': ('a', 1)})"
    )
    assert token(interpreter, raw_event=raw) == Token("m", Role.AI, "it's\n", node="model", last=True)


def test_pieces_of_tool_calls_are_in_a_token(interpreter: Interpreter) -> None:
    raw = (
        "(AIMessageChunk(content='', id='m', tool_calls=[{'name': 'f', 'args': {}}], tool_call_chunks=["
        "{'name': 'f', 'args': '{\"a', 'id': 'c', 'index': 1, 'type': 'tool_call_chunk'}, "
        "{'name': None, 'args': None, 'id': None, 'index': None}]), {})"
    )
    assert token(interpreter, raw_event=raw) == Token(
        # Without a name and an id, a piece continues the call before it.
        "m",
        Role.AI,
        tool_calls=(ToolCallPiece(1, "c", "f", '{"a'), ToolCallPiece(1, "", "", "")),
    )


def test_text_that_looks_like_the_end_of_its_message_is_text(interpreter: Interpreter) -> None:
    text = "', id='evil', tool_call_chunks=[]), {'langgraph_node': 'evil'})"
    for quoted in (text, text + '"', "plain", text):
        raw = f"(AIMessageChunk(content={quoted!r}, id='m'), {{'langgraph_node': 'model'}})"
        assert token(interpreter, raw_event=raw) == Token("m", Role.AI, quoted, node="model")


@pytest.mark.parametrize("first", ["beside", "data"])
def test_a_second_raw_event_beside_the_data_is_ignored(interpreter: Interpreter, first: str) -> None:
    raw = "(AIMessageChunk(content='{}', id='m'), {{}})"
    for decoy in ("same", "other"):
        parts = {"beside": {"raw_event": raw.format(decoy)}, "data": {"raw_event": raw.format("same")}}
        body = {"event_type": "on_llm_stream", first: parts.pop(first), **parts}
        assert interpreter.interpret(json.dumps(body).encode()).kinds == (Token("m", Role.AI, "same"),)


def test_a_tools_answer_comes_whole(interpreter: Interpreter) -> None:
    raw = "(ToolMessage(content='done', name='f', id='t', tool_call_id='c'), {'langgraph_node': 'tools'})"
    assert token(interpreter, raw_event=raw) == Token(
        "t", Role.TOOL, "done", node="tools", last=True, name="f", tool_call_id="c"
    )


@pytest.mark.parametrize(
    "data", [{"raw_event": "odd"}, {"messages": "odd"}, {"content": "odd"}, {"text": "odd"}]
)
def test_plain_text_is_an_uninterpreted_token(interpreter: Interpreter, data: dict[str, Any]) -> None:
    assert token(interpreter, **data) == Token(text="odd", uninterpreted=True)


# Frames that stay as they are.


@pytest.mark.parametrize(
    ("body", "event_type", "reason"),
    [
        (b"", "", FrameReason.MALFORMED),
        (b"[]", "", FrameReason.MALFORMED),
        (b"\xff", "", FrameReason.MALFORMED),
        (b'{"data":{}}', "", FrameReason.MALFORMED),
        (b'{"event_type":1,"data":{}}', "", FrameReason.MALFORMED),
        (b'{"event_type":"on_llm_stream","data":[]}', "on_llm_stream", FrameReason.MALFORMED),
        (b'{"event_type":"on_llm_stream","data":{}}', "on_llm_stream", FrameReason.UNKNOWN_TYPE),
        (b'{"event_type":"on_tool_start","data":{}}', "on_tool_start", FrameReason.UNKNOWN_TYPE),
    ],
)
def test_a_frame_without_a_meaning_is_kept(
    interpreter: Interpreter, body: bytes, event_type: str, reason: FrameReason
) -> None:
    assert interpreter.interpret(body).kinds == (UpstreamFrame(event_type, reason, body),)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"error": "late", "context": "streaming_timeout"}, UpstreamError("late", "streaming_timeout")),
        ({"error": {"message": "broke", "type": "E"}}, UpstreamError("broke", "")),
        ({"error": {"code": 7}}, UpstreamError('{"code": 7}', "")),
        ({"error": "nul \0 and \ud800"}, UpstreamError("nul \ufffd and \ufffd", "")),
        ("gone", UpstreamError("gone", "")),
    ],
)
def test_an_error_frame_is_kept_and_its_message_is_read(
    interpreter: Interpreter, data: Any, error: UpstreamError
) -> None:
    body = json.dumps({"event_type": "error", "data": data}).encode()
    meaning = interpreter.interpret(body)
    assert meaning.kinds == (UpstreamFrame("error", FrameReason.ERROR_REPORT, body),)
    assert meaning.error == error


@pytest.mark.parametrize("body", [b'{"event_type":"end","data":{}}', b'{"event_type":"end"}'])
def test_the_end_is_left_to_the_caller(interpreter: Interpreter, body: bytes) -> None:
    meaning = interpreter.interpret(body)
    assert (meaning.kinds, meaning.end) == ((), True)
    (reconstructed,) = frames_for(FrameReconstructor(), 1, meaning.delta, None)
    assert json.loads(reconstructed) == {**json.loads(body), "seq": 1}


def test_lone_surrogates_and_nan_are_proper_json_in_legacy_frames(interpreter: Interpreter) -> None:
    body = b'{"event_type":"on_state_update","data":{"files":{"/a":"\\ud800"},"x":NaN,"y":"\\u0000"}}'
    meaning = interpreter.interpret(body)
    assert interpreter.files.by_path["/a"].sanitized_text == ("\ufffd", True)
    (reconstructed,) = frames_for(FrameReconstructor(), 1, meaning.delta, meaning.kinds[0])
    assert json.loads(reconstructed)["data"] == {
        "files": {"/a": {"content": ["\ud800"]}},
        "x": "NaN",
        "y": "\0",
    }
