"""The golden events: every kind, with the values that are easy to get wrong.

Their files are in tests/contract/schema/golden: NAME.binpb the bytes, NAME.json the proto-JSON. Clients
in any language can check themselves against them. `python -m tests.contract.schema.golden_events` writes them
anew, which is right only for an addition: a changed file is a changed contract.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from server.domain.journal.content import (
    Citation,
    ContentPart,
    Media,
    OtherContent,
    Refusal,
    ServerToolCall,
    ServerToolResult,
    Thinking,
)
from server.domain.journal.events import (
    AgentMessage,
    Discontinuity,
    DiscontinuityReason,
    Event,
    EventKind,
    FileChange,
    FrameReason,
    InputAction,
    InputAnswered,
    InputRequested,
    InvalidToolCall,
    MessageChange,
    Outcome,
    Role,
    RunStarted,
    StateUpdate,
    Terminal,
    Todo,
    Token,
    TokenUsage,
    ToolCall,
    ToolCallPiece,
    UnreadFile,
    UpstreamFrame,
)
from server.domain.proposals.files import File, text_bytes
from server.wire import messages as m
from server.wire.codec import ProtobufCodec
from server.wire.rendering import message_json

FOLDER = Path(__file__).parent / "golden"

START = datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC)

AWKWARD = 'tab\t quote " back\\slash </script> U+2028 \u2028 NUL \x00 emoji 😀 é'

#: Content of every kind that is not text.
PARTS = (
    ContentPart(Thinking("What is asked?", "c2ln"), "0"),
    ContentPart(Thinking(redacted="ZW5j"), "lc_rs_1"),
    ContentPart(Media("image", "image/png", data=b"\x89PNG\r\n", size_bytes=6, sha256="ab" * 32)),
    ContentPart(Media("video", url="https://media.example/v.mp4")),
    ContentPart(Media("file", "application/pdf", file_id="file_1")),
    ContentPart(ServerToolCall("srv_1", "web_search", '{"query":"hubs"}'), "1"),
    ContentPart(ServerToolResult("srv_1", "error", '{"error_code":"unavailable"}'), "2"),
    ContentPart(Citation("https://a.example/", "A", AWKWARD, '{"type":"citation"}')),
    ContentPart(Refusal("I cannot help with that.")),
    ContentPart(OtherContent("guard_content", '{"type":"guard_content"}')),
    ContentPart(OtherContent("", "")),
)

KINDS: dict[str, EventKind] = {
    "run_started": RunStarted(UUID(int=1), UUID(int=2), UUID(int=2**128 - 1)),
    "token": Token("run--1", Role.AI, "Hello", node="model"),
    "token_tool_call": Token(
        "run--1",
        Role.AI,
        tool_calls=(
            ToolCallPiece(0, "call_1", "write_file", '{"path"'),
            ToolCallPiece(4294967295, "", "", ""),
        ),
        last=True,
    ),
    "token_awkward": Token(text=AWKWARD, role=Role.TOOL, name="ls", tool_call_id="c", uninterpreted=True),
    "token_empty": Token(),
    "state_update": StateUpdate(
        messages=(
            MessageChange(0, AgentMessage("h1", Role.HUMAN, "Add web search")),
            MessageChange(
                7,
                AgentMessage(
                    "a1",
                    Role.AI,
                    "",
                    (ToolCall("call_1", "write_file", '{"path":"/a.md"}'),),
                    uninterpreted=True,
                ),
            ),
            MessageChange(8, AgentMessage("t1", Role.TOOL, AWKWARD, (), "write_file", "call_1")),
        ),
        message_count=9,
        todos=(Todo("Write the spec", "in_progress"), Todo("", "")),
        files=(
            FileChange("/a.md", File(b"# A\n\r\nline\n", True, "2025-01-01T00:00:00Z", "x"), added=True),
            FileChange("/bytes.bin", File(bytes(range(256)), False), added=False),
            FileChange("/empty.md", File(b""), added=True),
            FileChange("/gone.md", None),
            FileChange("no slash, 😀", File("é😀".encode())),
        ),
        extra={"structured_response": '{"a":null}', "b": "", "a": "1"},
        unread_files=(UnreadFile("/odd", "17"),),
    ),
    "state_update_empty": StateUpdate(),
    "state_update_no_todos_left": StateUpdate(todos=()),
    "upstream_frame": UpstreamFrame(
        "on_new_thing", FrameReason.UNKNOWN_TYPE, b'{"event_type":"on_new_thing"}'
    ),
    "upstream_frame_binary": UpstreamFrame("", FrameReason.MALFORMED, b"\xff\xfe\x00"),
    "upstream_frame_empty": UpstreamFrame("", FrameReason.MALFORMED, b""),
    "upstream_frame_error": UpstreamFrame("error", FrameReason.ERROR_REPORT, b'{"event_type":"error"}'),
    "upstream_frame_after_end": UpstreamFrame("end", FrameReason.AFTER_END, b"{}"),
    "input_requested": InputRequested("[Interrupt(value='Which one?')]"),
    "input_requested_empty": InputRequested(""),
    "discontinuity": Discontinuity(DiscontinuityReason.RECONNECTED),
    "discontinuity_differed": Discontinuity(DiscontinuityReason.REPLAY_DIFFERED),
    "terminal_completed": Terminal(Outcome.COMPLETED, file_count=3),
    "terminal_failed": Terminal(Outcome.FAILED, "upstream_error", AWKWARD, 0),
    "terminal_cancelled": Terminal(Outcome.CANCELLED, "cancelled", "Somebody cancelled it."),
    "token_parts": Token("run--1", Role.AI, node="model", parts=PARTS, namespace="tools:1"),
    "token_tool_error": Token(
        "t1",
        Role.TOOL,
        "Error: bad path",
        last=True,
        name="ls",
        tool_call_id="c",
        status="error",
    ),
    "state_update_content": StateUpdate(
        messages=(
            MessageChange(
                0,
                AgentMessage(
                    "a1",
                    Role.AI,
                    "Hello",
                    name="researcher",
                    parts=PARTS,
                    invalid_tool_calls=(
                        InvalidToolCall("call_2", "write_file", '{"path": "/a', "Unterminated string"),
                        InvalidToolCall("", "", "", ""),
                    ),
                    usage=TokenUsage(1200, 80, 1280, 1024, 32),
                ),
            ),
            MessageChange(1, AgentMessage(role=Role.TOOL, text="ok", status="success")),
            MessageChange(2, AgentMessage(usage=TokenUsage())),
        ),
        message_count=3,
    ),
    "input_answered": InputAnswered(106, "i1", UUID(int=7), ("approve", "edit", "reject")),
}

EVENTS: dict[str, Event] = {
    name: Event(seq, 1 + seq // 8, START + timedelta(milliseconds=877 * (seq - 1)), kind)
    for seq, (name, kind) in enumerate(KINDS.items(), 1)
}

#: Sent with U+FFFD where the lone surrogates are: they have bytes, but do not decode to the same value.
SANITIZED: dict[str, Event] = {
    "token_sanitized": Event(100, 1, START, Token("m", Role.AI, "bad \ud800 text")),
    "message_sanitized": Event(
        101, 1, START, StateUpdate((MessageChange(0, AgentMessage(text="\udfff")),), 1)
    ),
}

#: Sent with U+FFFD, too, and the exact value beside it: after a takeover a run must have the same files.
EXACT: dict[str, Event] = {
    "file_sanitized": Event(
        102, 1, START, StateUpdate(files=(FileChange("/\ud800", File(text_bytes("a\ud800b"))),))
    ),
    "file_with_other_members": Event(
        103, 1, START, StateUpdate(files=(FileChange("/a", File(b"x", True, "", "17", {"mode": "420"})),))
    ),
}
#: Events with fields that came after the others.
LATER: dict[str, Event] = {
    "token_part_extra": Event(
        104,
        1,
        START,
        Token(parts=(ContentPart(Media("file", file_id="file_1"), extra='{"filename":"a.pdf"}'),)),
    ),
    "upstream_frame_too_complex": Event(105, 1, START, UpstreamFrame("", FrameReason.TOO_COMPLEX, b"{}")),
    "input_requested_actions": Event(
        106,
        1,
        START,
        InputRequested(
            "[Interrupt(...)]",
            "i1",
            (
                InputAction("write_file", '{"path": "/a.md"}', "Write it?", ("approve", "reject")),
                InputAction("ls", "{}"),
            ),
        ),
    ),
    "input_requested_expiring": Event(
        107, 1, START, InputRequested("[Interrupt(...)]", "i1", (), START + timedelta(minutes=30))
    ),
}
EVENTS |= EXACT | LATER

GOLDEN = {**EVENTS, **SANITIZED}


def write() -> None:
    """Write the files of every golden event, and remove those of none."""
    for old in [*FOLDER.glob("*.binpb"), *FOLDER.glob("*.json")]:
        old.unlink()
    for name, event in GOLDEN.items():
        data = ProtobufCodec().encode(event)
        (FOLDER / f"{name}.binpb").write_bytes(data)
        (FOLDER / f"{name}.json").write_bytes(message_json(m.Event.FromString(data)))


if __name__ == "__main__":
    write()
