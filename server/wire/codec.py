"""Domain events to and from the contract's bytes (`event.proto`).

1. Total: every domain event can be encoded. Lone surrogates in a string become U+FFFD, with a mark where the
   contract has one; a number outside its field's range becomes the nearest one in it.
2. Deterministic: the same event gives the same bytes.
3. Decoding returns the same event, except for such strings and numbers. Changes of files are always the same,
   because a run that another replica continues must have the same files.
"""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

from typing_extensions import override

from server.domain.journal.events import (
    Discontinuity,
    DiscontinuityReason,
    Event,
    EventKind,
    FrameReason,
    InputAction,
    InputAnswered,
    InputRequested,
    MessageChange,
    Outcome,
    RunStarted,
    StateUpdate,
    Terminal,
    Todo,
    Token,
    UnreadFile,
    UpstreamFrame,
)
from server.domain.journal.journal import EventCodec
from server.encoding.json_text import replace_surrogates
from server.wire import file_updates
from server.wire import messages as m
from server.wire.conversation import read_agent_message, read_token, write_agent_message, write_token
from server.wire.files import fill_file_change, read_file_change
from server.wire.text import get_time, set_time, to_uint32

_OUTCOMES = {
    Outcome.COMPLETED: m.Outcome.OUTCOME_COMPLETED,
    Outcome.FAILED: m.Outcome.OUTCOME_FAILED,
    Outcome.CANCELLED: m.Outcome.OUTCOME_CANCELLED,
}
# Values that only a newer version knows are read as the nearest harmless value.
_OUTCOME_OF = {int(number): outcome for outcome, number in _OUTCOMES.items()}
_FRAME_REASON_OF = {reason.value: reason for reason in FrameReason}
_DISCONTINUITY_OF = {reason.value: reason for reason in DiscontinuityReason}


class ProtobufCodec(EventCodec):
    """Events as serialised `Event` messages."""

    @override
    def encode(self, event: Event) -> bytes:
        assembled = file_updates.serialised(event)
        if assembled is not None:
            return assembled
        message = m.Event()
        message.seq = event.seq
        message.epoch = event.epoch
        set_time(message.create_time, event.time)
        _write_kind(message, event.kind)
        return message.SerializeToString(deterministic=True)

    @override
    def decode(self, data: bytes) -> Event:
        try:
            message = m.Event.FromString(data)
        except Exception as wrong:  # protobuf's DecodeError is not a ValueError
            raise ValueError("not a serialised event") from wrong
        return Event(message.seq, message.epoch, get_time(message.create_time), _read_kind(message))


# --- Writing: each function fills the oneof's member of its kind -------------------------------


def _write_kind(event: m.Event, kind: EventKind) -> None:
    match kind:
        case Token():
            write_token(event.token, kind)
        case StateUpdate():
            _write_state_update(event, kind)
        case UpstreamFrame():
            _write_upstream_frame(event, kind)
        case RunStarted():
            _write_run_started(event, kind)
        case InputRequested():
            _write_input_requested(event, kind)
        case InputAnswered():
            _write_input_answered(event, kind)
        case Discontinuity():
            _write_discontinuity(event, kind)
        case Terminal():
            _write_terminal(event, kind)
        case other:
            assert_never(other)


def _write_run_started(event: m.Event, kind: RunStarted) -> None:
    event.run_started.run_id = str(kind.run_id)
    event.run_started.proposal_id = str(kind.proposal_id)
    event.run_started.workflow_id = str(kind.workflow_id)


def _write_state_update(event: m.Event, kind: StateUpdate) -> None:
    update = event.state_update
    update.SetInParent()
    for change in kind.messages:
        item = update.messages.add(index=to_uint32(change.index))
        write_agent_message(item.message, change.message)
    update.message_count = to_uint32(kind.message_count)
    if kind.todos is not None:
        update.todos.SetInParent()
        for todo in kind.todos:
            update.todos.items.add(
                content=replace_surrogates(todo.content), status=replace_surrogates(todo.status)
            )
    for file_change in kind.files:
        fill_file_change(update.files.add(), file_change)
    for key, json in kind.extra.items():
        update.extra[replace_surrogates(key)] = replace_surrogates(json)
    for unread in kind.unread_files:
        update.unread_files.add(path=replace_surrogates(unread.path), json=replace_surrogates(unread.json))


def _write_upstream_frame(event: m.Event, kind: UpstreamFrame) -> None:
    frame = event.upstream_frame
    frame.event_type = replace_surrogates(kind.event_type)
    frame.reason = m.UpstreamFrameReason.ValueType(kind.reason.value)
    try:
        frame.text = kind.body.decode()
    except UnicodeDecodeError:
        frame.binary = kind.body


def _write_input_requested(event: m.Event, kind: InputRequested) -> None:
    requested = event.input_requested
    requested.SetInParent()
    requested.request = replace_surrogates(kind.request)
    requested.input_id = replace_surrogates(kind.input_id)
    for action in kind.actions:
        requested.actions.add(
            name=replace_surrogates(action.name),
            arguments=replace_surrogates(action.arguments),
            description=replace_surrogates(action.description),
            allowed_decisions=map(replace_surrogates, action.allowed_decisions),
        )
    if kind.expires_at is not None:
        set_time(requested.expire_time, kind.expires_at)


def _write_input_answered(event: m.Event, kind: InputAnswered) -> None:
    answered = event.input_answered
    answered.seq = to_uint32(kind.seq)
    answered.input_id = replace_surrogates(kind.input_id)
    answered.user_id = str(kind.user_id)
    answered.decisions.extend(map(replace_surrogates, kind.decisions))


def _write_discontinuity(event: m.Event, kind: Discontinuity) -> None:
    event.discontinuity.reason = m.DiscontinuityReason.ValueType(kind.reason.value)


def _write_terminal(event: m.Event, kind: Terminal) -> None:
    event.terminal.outcome = _OUTCOMES[kind.outcome]
    event.terminal.reason = replace_surrogates(kind.reason)
    event.terminal.message = replace_surrogates(kind.message)
    event.terminal.file_count = to_uint32(kind.file_count)


# --- Reading ---------------------------------------------------------------------------------


def _read_kind(event: m.Event) -> EventKind:
    match event.WhichOneof("kind"):
        case "token":
            return read_token(event.token)
        case "state_update":
            return _read_state_update(event.state_update)
        case "upstream_frame":
            return _read_upstream_frame(event.upstream_frame)
        case "run_started":
            return _read_run_started(event.run_started)
        case "input_requested":
            return _read_input_requested(event.input_requested)
        case "input_answered":
            return _read_input_answered(event.input_answered)
        case "discontinuity":
            return _read_discontinuity(event.discontinuity)
        case "terminal":
            return _read_terminal(event.terminal)
        case None:
            raise ValueError(f"event {event.seq} is of a kind that this version does not know")
        case other:
            assert_never(other)


def _read_input_requested(requested: m.InputRequested) -> InputRequested:
    actions = [
        InputAction(action.name, action.arguments, action.description, tuple(action.allowed_decisions))
        for action in requested.actions
    ]
    expires_at = get_time(requested.expire_time) if requested.HasField("expire_time") else None
    return InputRequested(requested.request, requested.input_id, tuple(actions), expires_at)


def _read_input_answered(answered: m.InputAnswered) -> InputAnswered:
    decisions = tuple(answered.decisions)
    return InputAnswered(answered.seq, answered.input_id, UUID(answered.user_id), decisions)


def _read_run_started(started: m.RunStarted) -> RunStarted:
    return RunStarted(UUID(started.run_id), UUID(started.proposal_id), UUID(started.workflow_id))


def _read_state_update(update: m.StateUpdate) -> StateUpdate:
    todos = tuple(Todo(todo.content, todo.status) for todo in update.todos.items)
    return StateUpdate(
        messages=tuple(MessageChange(c.index, read_agent_message(c.message)) for c in update.messages),
        message_count=update.message_count,
        todos=todos if update.HasField("todos") else None,
        files=tuple(map(read_file_change, update.files)),
        extra=dict(update.extra),
        unread_files=tuple(UnreadFile(unread.path, unread.json) for unread in update.unread_files),
    )


def _read_upstream_frame(frame: m.UpstreamFrame) -> UpstreamFrame:
    body = frame.binary if frame.WhichOneof("body") == "binary" else frame.text.encode()
    return UpstreamFrame(frame.event_type, _FRAME_REASON_OF.get(frame.reason, FrameReason.UNKNOWN_TYPE), body)


def _read_discontinuity(discontinuity: m.Discontinuity) -> Discontinuity:
    return Discontinuity(_DISCONTINUITY_OF.get(discontinuity.reason, DiscontinuityReason.RECONNECTED))


def _read_terminal(terminal: m.Terminal) -> Terminal:
    return Terminal(
        _OUTCOME_OF.get(terminal.outcome, Outcome.FAILED),
        terminal.reason,
        terminal.message,
        terminal.file_count,
    )
