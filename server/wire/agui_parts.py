"""What each event of a journal contributes to an AG-UI run: the part that is the same for every reader.

A part is made from one event alone, once, and is shared by all readers as bytes. What a reader needs besides
the parts, such as which messages are open, is in `server.wire.agui`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from server.domain.journal.segments import Segment
from server.wire import messages as m
from server.wire.agui_interrupts import Interrupt, call_key, interrupts_of
from server.wire.rendering import full_json, message_json
from server.wire.text import dumps, get_time

#: Longest content of a file in the shared state, in bytes. Larger ones are read by their hash.
MAX_INLINE_BYTES = 256 << 10
#: Longest id of a message, in characters: readers keep those of open messages.
_MAX_ID = 256


class Started(msgspec.Struct, array_like=True, tag="started"):
    """The run began. value: the hub's ids, as JSON."""

    value: bytes


class Text(msgspec.Struct, array_like=True, tag="text"):
    """A piece of a message's text. delta: as a JSON string."""

    message_id: str
    delta: bytes
    last: bool


class Call(msgspec.Struct, array_like=True):
    """A complete tool call: its id, and as JSON strings its name and the JSON text of its arguments. key: as
    `call_key`."""

    call_id: str
    name: bytes
    arguments: bytes
    key: bytes


class Message(msgspec.Struct, array_like=True, tag="message"):
    """A complete message of the model. text: as a JSON string, empty without any."""

    message_id: str
    text: bytes
    calls: list[Call]


class Result(msgspec.Struct, array_like=True, tag="result"):
    """A tool's answer. The id and the content are JSON strings."""

    call_id: str
    message_id: bytes
    content: bytes


class Change(msgspec.Struct, array_like=True):
    """A changed file. patch: the operation of JSON Patch. removed: it needs the file to be there."""

    path: str
    patch: bytes
    removed: bool


class State(msgspec.Struct, array_like=True, tag="state"):
    """Changes of the shared state. todos: the operation of JSON Patch, empty without one."""

    todos: bytes
    files: list[Change]


class Other(msgspec.Struct, array_like=True, tag="other"):
    """A RAW or CUSTOM event: its type, and the members that follow the time, as JSON without braces."""

    kind: str
    members: bytes


class Question(msgspec.Struct, array_like=True, tag="question"):
    """The agent waits for a person."""

    interrupts: list[Interrupt]


class Ended(msgspec.Struct, array_like=True, tag="ended"):
    """The run ended. kind: the type of the last event. members: its others than the ids, as JSON without
    braces."""

    kind: str
    members: bytes


Part = Started | Text | Message | Result | State | Other | Question | Ended


class EventParts(msgspec.Struct, array_like=True):
    """The parts of one event. time_ms: when it was created, in milliseconds since 1970."""

    time_ms: int
    parts: list[Part]


_DECODER = msgspec.msgpack.Decoder(EventParts)
_encode = msgspec.msgpack.Encoder().encode


async def parts_of(segment: Segment) -> Iterator[tuple[EventParts, int]]:
    """The parts of each event of a segment, in order of seq, and about their bytes."""
    await segment.prepare_each(_encoded_parts, _encoded_parts)
    encoded = segment.cached_each(_encoded_parts, _encoded_parts)
    return ((_DECODER.decode(each), len(each)) for each in encoded)


def _encoded_parts(segment: Segment) -> list[bytes]:
    return [_encode(_event_parts(m.Event.FromString(event))) for event in segment.events()]


def _event_parts(event: m.Event) -> EventParts:
    time_ms = int(get_time(event.create_time).timestamp() * 1000)
    return EventParts(time_ms, list(_parts(event)))


def _parts(event: m.Event) -> Iterator[Part]:
    kind = event.WhichOneof("kind")
    match kind:
        case "run_started":
            yield Started(message_json(event.run_started))
        case "token":
            yield _token(event.token)
        case "state_update":
            yield from _state_update(event.state_update)
        case "input_requested":
            yield Question(list(interrupts_of(event.seq, event.input_requested)))
        case "terminal":
            yield _ended(event.terminal)
        case "upstream_frame" if event.upstream_frame.WhichOneof("body") == "text":
            # Its text as a string: a frame may be JSON in several lines, or no JSON.
            frame = event.upstream_frame
            raw = {"event_type": frame.event_type, "text": frame.text}
            yield Other("RAW", b'"event":%b,"source":"runtime"' % dumps(raw))
        case _:
            yield _custom(kind or "unknown", full_json(event))


def _custom(name: str, value: bytes) -> Other:
    return Other("CUSTOM", b'"name":"ideo.%b","value":%b' % (name.encode(), value))


def _token(token: m.Token) -> Part:
    is_text = token.role == m.MESSAGE_ROLE_AI and 0 < len(token.message_id) <= _MAX_ID and not token.namespace
    if not is_text or token.parts or token.uninterpreted:
        return _custom("token", message_json(token))
    return Text(token.message_id, dumps(token.text) if token.text else b"", token.last)


def _state_update(update: m.StateUpdate) -> Iterator[Part]:
    for change in update.messages:
        message = change.message
        if message.role == m.MESSAGE_ROLE_AI:
            message_id = _message_id(change)
            calls = [_call(message_id, number, call) for number, call in enumerate(message.tool_calls)]
            yield Message(message_id, dumps(message.text) if message.text else b"", calls)
            if message.parts or message.invalid_tool_calls:
                yield _custom("message", message_json(message))
        elif message.role == m.MESSAGE_ROLE_TOOL and message.tool_call_id:
            yield Result(message.tool_call_id, dumps(_message_id(change)), dumps(message.text))
        elif message.role == m.MESSAGE_ROLE_UNSPECIFIED:
            yield _custom("message", message_json(message))
    todos = b""
    if update.HasField("todos"):
        items = [{"content": each.content, "status": each.status} for each in update.todos.items]
        todos = dumps({"op": "add", "path": "/todos", "value": items})
    if todos or update.files:
        yield State(todos, [_change(each) for each in update.files])
    if update.extra or update.unread_files:
        rest = m.StateUpdate(extra=update.extra, unread_files=update.unread_files)
        yield _custom("state", message_json(rest))


def _message_id(change: m.MessageChange) -> str:
    message_id = change.message.id
    return message_id if 0 < len(message_id) <= _MAX_ID else f"message-{change.index}"


def _call(message_id: str, number: int, call: m.ToolCall) -> Call:
    arguments, key = call.arguments, call_key(call.name, call.arguments)
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        # A printed form of the arguments is a string then.
        arguments = dumps(arguments).decode()
    return Call(call.id or f"{message_id}-call-{number}", dumps(call.name), dumps(arguments), key)


def _change(change: m.FileChange) -> Change:
    path = "/files/" + change.path.replace("~", "~0").replace("/", "~1")
    if change.kind == m.FILE_CHANGE_KIND_DELETED:
        return Change(change.path, dumps({"op": "remove", "path": path}), True)
    file: dict[str, Any] = {"sha256": change.sha256, "size_bytes": change.size_bytes}
    if change.WhichOneof("content") == "text" and change.size_bytes <= MAX_INLINE_BYTES:
        file["content"] = change.text
    return Change(change.path, dumps({"op": "add", "path": path, "value": file}), False)


def _ended(terminal: m.Terminal) -> Ended:
    if terminal.outcome == m.OUTCOME_FAILED:
        message = dumps(terminal.message or "the run failed")
        return Ended("RUN_ERROR", b'"message":%b,"code":%b' % (message, dumps(terminal.reason or "failed")))
    outcome = b"cancelled" if terminal.outcome == m.OUTCOME_CANCELLED else b"success"
    result = dumps({"file_count": terminal.file_count})
    return Ended("RUN_FINISHED", b'"result":%b,"outcome":{"type":"%b"}' % (result, outcome))
