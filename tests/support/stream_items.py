"""What the hub's streams bring, decoded from either form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from ide_orchestrator.v1 import event_pb2, refinement_pb2


@dataclass(frozen=True, slots=True)
class Hello:
    """The greeting."""

    last_seq: int


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The hub is about to go away: come back, after a while."""

    after_ms: int


@dataclass(frozen=True, slots=True)
class Completed:
    """The hub closed the stream as complete."""


@dataclass(frozen=True, slots=True)
class Event:
    """A typed event as it came: proto-JSON or a message."""

    value: dict[str, Any] | event_pb2.Event

    @property
    def json(self) -> dict[str, Any]:
        return self.value if isinstance(self.value, dict) else as_json(self.value)

    @property
    def message(self) -> event_pb2.Event:
        return ParseDict(self.value, event_pb2.Event()) if isinstance(self.value, dict) else self.value


@dataclass(frozen=True, slots=True)
class Frame:
    """A legacy frame."""

    value: dict[str, Any]


#: None: a heartbeat.
Item = Hello | Event | Frame | Reconnect | Completed | None


def as_json(message: Any) -> dict[str, Any]:
    """A message as proto-JSON."""
    value: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return value


def decode_json(message: dict[str, Any]) -> Iterator[Item]:
    """What a WatchRefinementResponse in proto-JSON says."""
    [(kind, value)] = message.items()
    if kind == "batch":
        yield from map(Event, value["events"])
    else:
        yield _control(kind, value)


def decode_proto(data: bytes) -> Iterator[Item]:
    """What a WatchRefinementResponse says."""
    message = refinement_pb2.WatchRefinementResponse.FromString(data)
    if message.WhichOneof("kind") == "batch":
        yield from map(Event, message.batch.events)
    else:
        yield from decode_json(as_json(message))


def _control(kind: str | None, value: dict[str, Any]) -> Item:
    if kind == "hello":
        return Hello(int(value.get("last_seq", 0)))
    return Reconnect(int(value.get("after_ms", 0))) if kind == "reconnect" else None


def decode_sse(fields: dict[str, str]) -> Item:
    kind = fields.get("event")
    value = json.loads(fields.get("data") or "{}")
    if kind in ("hello", "reconnect", "heartbeat", None):
        return _control(kind, value)
    assert int(fields["id"]) == value["seq"]
    return Event(value)
