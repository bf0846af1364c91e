"""Domain events to and from the contract's bytes (`event.proto`).

1. Total: every domain event has bytes. A string with lone surrogates is sent with U+FFFD in their
   place, and marked where the contract has a mark; a number outside its field's range is cut to it.
2. Deterministic: the same event gives the same bytes.
3. For events without such strings and numbers, decoding gives the event back. A file time of ""
   comes back as None: the contract does not tell the two apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from server.domain.journal.events import (
    AgentMessage,
    Discontinuity,
    DiscontinuityReason,
    Event,
    EventKind,
    FileChange,
    FrameReason,
    InputRequested,
    MessageChange,
    Outcome,
    Role,
    RunStarted,
    StateUpdate,
    Terminal,
    Todo,
    Token,
    ToolCall,
    ToolCallPiece,
    UnreadFile,
    UpstreamFrame,
)
from server.domain.proposals.files import File, text_bytes
from server.wire import messages as m
from server.wire.text import get_time, sendable, set_time

_UINT32_MAX = 0xFFFFFFFF

_OUTCOMES = {
    Outcome.COMPLETED: m.Outcome.OUTCOME_COMPLETED,
    Outcome.FAILED: m.Outcome.OUTCOME_FAILED,
    Outcome.CANCELLED: m.Outcome.OUTCOME_CANCELLED,
}
# What a newer writer says and this version does not know is read as the nearest harmless word.
_OUTCOME_OF = {int(number): outcome for outcome, number in _OUTCOMES.items()}
_ROLE_OF = {role.value: role for role in Role}
_FRAME_REASON_OF = {reason.value: reason for reason in FrameReason}
_DISCONTINUITY_OF = {reason.value: reason for reason in DiscontinuityReason}
# The contract's numbers by domain value. Enum attributes cost a descriptor call each on the hot path.
_ROLE_NUMBER: dict[Role, Any] = {role: role.value for role in Role}


def _uint32(number: int) -> int:
    return min(max(number, 0), _UINT32_MAX)


class ProtobufCodec:
    """Implements `ports.EventCodec`."""

    def encode(self, event: Event) -> bytes:
        """The serialised `Event` message."""
        message = m.Event()
        message.seq = event.seq
        message.epoch = event.epoch
        set_time(message.create_time, event.time)
        kind = event.kind
        _WRITERS[type(kind)](message, kind)
        return message.SerializeToString(deterministic=True)

    def decode(self, data: bytes) -> Event:
        """The event of a serialised `Event` message.

        Raises ValueError for bytes that are none, or of a kind that this version does not know.
        """
        try:
            message = m.Event.FromString(data)
        except Exception as wrong:  # protobuf's DecodeError is no ValueError
            raise ValueError("not a serialised event") from wrong
        name = message.WhichOneof("kind")
        if name is None:
            raise ValueError(f"event {message.seq} is of a kind that this version does not know")
        kind: EventKind = _READERS[name](getattr(message, name))
        return Event(message.seq, message.epoch, get_time(message.create_time), kind)


# --- Writing: each fills the member of the oneof that belongs to its kind ---------------------


def _write_token(event: m.Event, kind: Token) -> None:
    try:
        _fill_token(event.token, kind)
    except UnicodeEncodeError:
        event.token.Clear()
        clean = Token(
            sendable(kind.message_id),
            kind.role,
            sendable(kind.text),
            tuple(
                ToolCallPiece(p.index, sendable(p.id), sendable(p.name), sendable(p.arguments))
                for p in kind.tool_calls
            ),
            sendable(kind.node),
            kind.last,
            sendable(kind.name),
            sendable(kind.tool_call_id),
            uninterpreted=True,
        )
        _fill_token(event.token, clean)


def _fill_token(token: m.Token, kind: Token) -> None:
    # The member must be set even when every field has its default.
    token.SetInParent()
    token.message_id = kind.message_id
    token.role = _ROLE_NUMBER[kind.role]
    token.text = kind.text
    for piece in kind.tool_calls:
        token.tool_calls.add(
            index=_uint32(piece.index), id=piece.id, name=piece.name, arguments=piece.arguments
        )
    token.node = kind.node
    token.last = kind.last
    token.name = kind.name
    token.tool_call_id = kind.tool_call_id
    token.uninterpreted = kind.uninterpreted


def _write_run_started(event: m.Event, kind: RunStarted) -> None:
    event.run_started.run_id = str(kind.run_id)
    event.run_started.proposal_id = str(kind.proposal_id)
    event.run_started.workflow_id = str(kind.workflow_id)


def _write_state_update(event: m.Event, kind: StateUpdate) -> None:
    update = event.state_update
    update.SetInParent()
    for change in kind.messages:
        place = update.messages.add(index=_uint32(change.index))
        _fill_message(place.message, change.message)
    update.message_count = _uint32(kind.message_count)
    if kind.todos is not None:
        update.todos.SetInParent()
        for todo in kind.todos:
            update.todos.items.add(content=sendable(todo.content), status=sendable(todo.status))
    for file_change in kind.files:
        _fill_file_change(update.files.add(), file_change)
    for key, json in kind.extra.items():
        update.extra[sendable(key)] = sendable(json)
    for unread in kind.unread_files:
        update.unread_files.add(path=sendable(unread.path), json=sendable(unread.json))


def _fill_message(target: m.AgentMessage, message: AgentMessage) -> None:
    target.SetInParent()
    target.id = sendable(message.id)
    target.role = _ROLE_NUMBER[message.role]
    target.text = sendable(message.text)
    for call in message.tool_calls:
        target.tool_calls.add(
            id=sendable(call.id), name=sendable(call.name), arguments=sendable(call.arguments)
        )
    target.name = sendable(message.name)
    target.tool_call_id = sendable(message.tool_call_id)
    target.uninterpreted = message.uninterpreted or target.text != message.text


def _fill_file_change(target: m.FileChange, change: FileChange) -> None:
    target.path = sendable(change.path)
    file = change.file
    if file is None:
        target.kind = m.FileChangeKind.FILE_CHANGE_KIND_DELETED
        return
    target.kind = (
        m.FileChangeKind.FILE_CHANGE_KIND_ADDED
        if change.added
        else m.FileChangeKind.FILE_CHANGE_KIND_MODIFIED
    )
    fill_content(target, file)


def fill_content(target: m.FileChange | m.GeneratedFile, file: File) -> None:
    """Write a file's content, digest, size, times and mark. The digest is of the file's own bytes."""
    if file.is_text:
        target.text, target.sanitized = file.shown
    else:
        target.binary = file.content
    target.sha256 = file.sha256
    target.size_bytes = len(file.content)
    target.created_at = sendable(file.created_at or "")
    target.modified_at = sendable(file.modified_at or "")


def _write_upstream_frame(event: m.Event, kind: UpstreamFrame) -> None:
    frame = event.upstream_frame
    frame.event_type = sendable(kind.event_type)
    frame.reason = m.UpstreamFrameReason.ValueType(kind.reason.value)
    try:
        frame.text = kind.body.decode()
    except UnicodeDecodeError:
        frame.binary = kind.body


def _write_input_requested(event: m.Event, kind: InputRequested) -> None:
    event.input_requested.SetInParent()
    event.input_requested.request = sendable(kind.request)


def _write_discontinuity(event: m.Event, kind: Discontinuity) -> None:
    event.discontinuity.reason = m.DiscontinuityReason.ValueType(kind.reason.value)


def _write_terminal(event: m.Event, kind: Terminal) -> None:
    event.terminal.outcome = _OUTCOMES[kind.outcome]
    event.terminal.reason = sendable(kind.reason)
    event.terminal.message = sendable(kind.message)
    event.terminal.file_count = _uint32(kind.file_count)


_WRITERS: dict[type, Callable[[m.Event, Any], None]] = {
    Token: _write_token,
    RunStarted: _write_run_started,
    StateUpdate: _write_state_update,
    UpstreamFrame: _write_upstream_frame,
    InputRequested: _write_input_requested,
    Discontinuity: _write_discontinuity,
    Terminal: _write_terminal,
}


# --- Reading ---------------------------------------------------------------------------------


def _read_token(token: m.Token) -> Token:
    return Token(
        token.message_id,
        _ROLE_OF.get(token.role, Role.UNSPECIFIED),
        token.text,
        tuple(ToolCallPiece(p.index, p.id, p.name, p.arguments) for p in token.tool_calls),
        token.node,
        token.last,
        token.name,
        token.tool_call_id,
        token.uninterpreted,
    )


def _read_run_started(started: m.RunStarted) -> RunStarted:
    return RunStarted(UUID(started.run_id), UUID(started.proposal_id), UUID(started.workflow_id))


def _read_state_update(update: m.StateUpdate) -> StateUpdate:
    todos = tuple(Todo(todo.content, todo.status) for todo in update.todos.items)
    return StateUpdate(
        messages=tuple(MessageChange(c.index, _read_message(c.message)) for c in update.messages),
        message_count=update.message_count,
        todos=todos if update.HasField("todos") else None,
        files=tuple(map(_read_file_change, update.files)),
        extra=dict(update.extra),
        unread_files=tuple(UnreadFile(unread.path, unread.json) for unread in update.unread_files),
    )


def _read_message(message: m.AgentMessage) -> AgentMessage:
    return AgentMessage(
        message.id,
        _ROLE_OF.get(message.role, Role.UNSPECIFIED),
        message.text,
        tuple(ToolCall(call.id, call.name, call.arguments) for call in message.tool_calls),
        message.name,
        message.tool_call_id,
        message.uninterpreted,
    )


def _read_file_change(change: m.FileChange) -> FileChange:
    content = change.WhichOneof("content")
    if content is None:
        return FileChange(change.path, None)
    file = File(
        text_bytes(change.text) if content == "text" else change.binary,
        content == "text",
        change.created_at or None,
        change.modified_at or None,
    )
    return FileChange(change.path, file, added=change.kind == m.FileChangeKind.FILE_CHANGE_KIND_ADDED)


def _read_upstream_frame(frame: m.UpstreamFrame) -> UpstreamFrame:
    body = frame.binary if frame.WhichOneof("body") == "binary" else frame.text.encode()
    return UpstreamFrame(frame.event_type, _FRAME_REASON_OF.get(frame.reason, FrameReason.UNKNOWN_TYPE), body)


def _read_input_requested(requested: m.InputRequested) -> InputRequested:
    return InputRequested(requested.request)


def _read_discontinuity(discontinuity: m.Discontinuity) -> Discontinuity:
    return Discontinuity(_DISCONTINUITY_OF.get(discontinuity.reason, DiscontinuityReason.RECONNECTED))


def _read_terminal(terminal: m.Terminal) -> Terminal:
    return Terminal(
        _OUTCOME_OF.get(terminal.outcome, Outcome.FAILED),
        terminal.reason,
        terminal.message,
        terminal.file_count,
    )


_READERS: dict[str, Callable[[Any], EventKind]] = {
    "token": _read_token,
    "run_started": _read_run_started,
    "state_update": _read_state_update,
    "upstream_frame": _read_upstream_frame,
    "input_requested": _read_input_requested,
    "discontinuity": _read_discontinuity,
    "terminal": _read_terminal,
}
