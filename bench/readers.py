"""What a follower got, by form: whether it is whole, and when each event came.

A form's check says how many events the messages bring, and raises Incomplete unless every one is there, once
and in order. `arrivals` gives the time of each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from bench.capture import Arrived
from ide_orchestrator.v1.refinement_pb2 import WatchRefinementResponse

Message = str | bytes


class Incomplete(Exception):
    """A stream that is not what was sent: its figure is worth nothing."""


#: Followers of a run get equal messages: one is read once.
@lru_cache(maxsize=4096)
def _value(text: Message) -> Mapping[str, Any]:
    value: Mapping[str, Any] = json.loads(text)
    return value


@lru_cache(maxsize=4096)
def _json_events(text: Message) -> Sequence[tuple[int, bool]]:
    events = _value(text).get("batch", {}).get("events", ())
    return [(event["seq"], "terminal" in event) for event in events]


@lru_cache(maxsize=4096)
def _proto_events(message: bytes) -> Sequence[tuple[int, bool]]:
    response = WatchRefinementResponse.FromString(message)
    return [(event.seq, event.HasField("terminal")) for event in response.batch.events]


def _numbered(events: Sequence[tuple[int, bool]]) -> int:
    if [seq for seq, _ in events] != list(range(1, len(events) + 1)) or not events:
        raise Incomplete(f"the events are not 1 to {len(events)}, each once and in order")
    if [end for _, end in events] != [False] * (len(events) - 1) + [True]:
        raise Incomplete("the terminal event is not the last one, or there is none")
    return len(events)


def check_frames(messages: Sequence[Message], frames: Sequence[str]) -> int:
    """The runtime's own frames; a relay may have written their JSON anew."""
    if len(messages) != len(frames):
        raise Incomplete(f"{len(messages)} frames came of {len(frames)}")
    for message, frame in zip(messages, frames, strict=True):
        text = message.decode() if isinstance(message, bytes) else message
        if text != frame and _value(text) != _value(frame):
            raise Incomplete("the frames are not those that were sent")
    return len(frames)


def check_legacy(messages: Sequence[Message], frames: Sequence[str]) -> int:
    """The legacy frames: a type and a place for each that was sent."""
    found = [_value(message) for message in messages]
    kinds = [_value(frame)["event_type"] for frame in frames]
    if [frame["event_type"] for frame in found] != kinds:
        raise Incomplete("the frames are not of the types that were sent")
    seqs = [frame["seq"] for frame in found]
    if seqs != sorted(set(seqs)):
        raise Incomplete("the frames' places do not grow")
    return len(found)


def check_json(messages: Sequence[Message], _frames: Sequence[str]) -> int:
    """Typed events as proto-JSON."""
    return _numbered([event for message in messages for event in _json_events(message)])


def check_proto(messages: Sequence[Message], _frames: Sequence[str]) -> int:
    """Typed events as protobuf."""
    return _numbered([event for message in messages for event in _proto_events(bytes(message))])  # type: ignore[arg-type]


CHECKS: Mapping[str, Callable[[Sequence[Message], Sequence[str]], int]] = {
    "frames": check_frames,
    "legacy": check_legacy,
    "json": check_json,
    "proto": check_proto,
}


def events_of(form: str, message: bytes) -> Sequence[tuple[int, bool]]:
    """The seqs of the typed events that a message brings, and whether each is the terminal one."""
    return _json_events(message) if form == "json" else _proto_events(message)


#: How many events a message brings, by form.
_COUNTS: Mapping[str, Callable[[bytes], int]] = {
    "frames": lambda _: 1,
    "legacy": lambda _: 1,
    "json": lambda text: len(_json_events(text)),
    "proto": lambda message: len(_proto_events(message)),
}


def arrivals(form: str, messages: Sequence[Arrived]) -> list[int]:
    """When each event came, in nanoseconds."""
    count = _COUNTS[form]
    return [each.at_ns for each in messages for _ in range(count(each.message))]
