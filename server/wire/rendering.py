"""Segments as bytes for each transport: made once per segment, and written to every reader.

A segment's `batch` is a serialised `EventBatch`, so the binary forms only add a head. The JSON forms (the
page, SSE and the WebSocket subprotocol `ideo.v1`) share one list of proto-JSON events, in ASCII.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.streams import pages
from server.encoding.event_batch import delimited_event, read_varint, varint
from server.encoding.json_text import replace_surrogates
from server.wire import messages as m
from server.wire.large_events import MAX_EVENT_BYTES, fit_event
from server.wire.refinements import hello_message
from server.wire.text import dumps

#: Protobuf key of `WatchRefinementResponse.batch` (field 2, length-delimited).
_BATCH_KEY = b"\x12"


def event_batch_response(segment: Segment) -> bytes:
    """The serialised `WatchRefinementResponse` with the segment's events."""
    return segment.cached(_BATCH_KEY, lambda s: _BATCH_KEY + varint(len(s.batch)) + s.batch)


def event_batch_responses(segments: Sequence[Segment], max_event_bytes: int) -> Iterator[bytes]:
    """Serialised `WatchRefinementResponse`s with the events of contiguous segments.

    None is larger than `max_event_bytes`, and one of several events has at most MAX_EVENT_BYTES. The cost is
    per message, not per event, so segments that fit together are sent as one.
    """
    max_bytes = min(max_event_bytes, MAX_EVENT_BYTES)
    together: list[Segment] = []
    size = 0
    for segment in segments:
        if together and size + len(segment.batch) > max_bytes:
            yield _response(together)
            together, size = [], 0
        if len(segment.batch) > max_bytes:
            yield from _large_segment_responses(segment, max_event_bytes)
        else:
            together.append(segment)
            size += len(segment.batch)
    if together:
        yield _response(together)


def _response(segments: Sequence[Segment]) -> bytes:
    if len(segments) == 1:
        return event_batch_response(segments[0])
    batch = b"".join([segment.batch for segment in segments])
    return _BATCH_KEY + varint(len(batch)) + batch


def _large_segment_responses(segment: Segment, max_event_bytes: int) -> list[bytes]:
    """The responses of a segment that does not fit into one, made once for all readers of this limit."""

    def _made(_: Segment) -> list[bytes]:
        events = [fit_event(event, max_event_bytes) for event in segment.events()]
        batches = _batches(events, min(max_event_bytes, MAX_EVENT_BYTES))
        return [b"".join([_BATCH_KEY, varint(len(batch)), batch]) for batch in batches]

    return segment.cached((_large_segment_responses, max_event_bytes), _made)


def _batches(events: Sequence[bytes], max_bytes: int) -> Iterator[bytes]:
    """The events in batches of at most `max_bytes`, or of one event."""
    entries: list[bytes] = []
    size = 0
    for entry in map(delimited_event, events):
        if entries and size + len(entry) > max_bytes:
            yield b"".join(entries)
            entries, size = [], 0
        entries.append(entry)
        size += len(entry)
    yield b"".join(entries)


def fitting_batch(segment: Segment, max_event_bytes: int) -> bytes:
    """The segment's batch, in which events larger than `max_event_bytes` have parts left out."""
    if len(segment.batch) <= min(max_event_bytes, MAX_EVENT_BYTES):
        return segment.batch
    responses = _large_segment_responses(segment, max_event_bytes)
    return b"".join([response[read_varint(response, len(_BATCH_KEY))[1] :] for response in responses])


def message_json(message: Message) -> bytes:
    """Proto-JSON with the contract's field names, compact, in ASCII."""
    return dumps(MessageToDict(message, preserving_proto_field_name=True))


def _full_json(message: Message) -> bytes:
    """The same with every field, so that readers that do not know proto-JSON find every number."""
    return dumps(
        MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    )


def event_jsons(segment: Segment) -> list[bytes]:
    """The proto-JSON of each event, in order of seq."""
    return segment.cached(event_jsons, _event_jsons)


def _event_jsons(segment: Segment) -> list[bytes]:
    return [message_json(event) for event in m.EventBatch.FromString(segment.batch).events]


def batch_json(segment: Segment) -> bytes:
    """The `WatchRefinementResponse` with the segment's events, as proto-JSON."""
    return segment.cached(batch_json, lambda s: b'{"batch":{"events":[' + b",".join(event_jsons(s)) + b"]}}")


def sse(segment: Segment) -> bytes:
    """The segment's events as server-sent events: id the seq, event the kind's name, data the JSON."""
    return segment.cached(sse, _sse)


def _sse(segment: Segment) -> bytes:
    parts = []
    events = m.EventBatch.FromString(segment.batch).events
    for event, json in zip(events, event_jsons(segment), strict=True):
        kind = (event.WhichOneof("kind") or "unknown").encode()
        parts.append(b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, kind, json))
    return b"".join(parts)


# --- Messages without events -------------------------------------------------------------------


def hello(head: JournalHead) -> bytes:
    """The first message of a stream, serialised."""
    return m.WatchRefinementResponse(hello=hello_message(head)).SerializeToString()


def hello_json(head: JournalHead) -> bytes:
    """The first message of a stream, as proto-JSON."""
    return _full_json(m.WatchRefinementResponse(hello=hello_message(head)))


def _heartbeat(last_seq: int, progress: str) -> m.WatchRefinementResponse:
    return m.WatchRefinementResponse(
        heartbeat=m.Heartbeat(last_seq=last_seq, progress=replace_surrogates(progress))
    )


def heartbeat(last_seq: int, progress: str = "") -> bytes:
    """A heartbeat, serialised."""
    return _heartbeat(last_seq, progress).SerializeToString()


def heartbeat_json(last_seq: int, progress: str = "") -> bytes:
    """A heartbeat, as proto-JSON."""
    return _full_json(_heartbeat(last_seq, progress))


def _reconnect(after_s: float) -> m.WatchRefinementResponse:
    return m.WatchRefinementResponse(reconnect=m.Reconnect(after_ms=int(after_s * 1000)))


def reconnect(after_s: float) -> bytes:
    """The advice to reconnect elsewhere, serialised."""
    return _reconnect(after_s).SerializeToString()


def reconnect_json(after_s: float) -> bytes:
    """The advice to reconnect elsewhere, as proto-JSON."""
    return _full_json(_reconnect(after_s))


def reconnect_sse(after_s: float) -> bytes:
    """The advice to reconnect elsewhere, as a server-sent event. `retry` makes an EventSource wait."""
    message = _reconnect(after_s).reconnect
    return b"retry: %d\nevent: reconnect\ndata: %b\n\n" % (message.after_ms, _full_json(message))


def hello_sse(head: JournalHead, cursor: int | None = None) -> bytes:
    """The first message of a stream, as a server-sent event. Its id, if any, is the reader's own cursor."""
    message_id = b"" if cursor is None else b"id: %d\n" % cursor
    return b"%bevent: hello\ndata: %b\n\n" % (message_id, _full_json(hello_message(head)))


def heartbeat_sse(last_seq: int, progress: str = "") -> bytes:
    """A heartbeat, as a server-sent event. Without an id, it does not move the cursor."""
    message = _heartbeat(last_seq, progress).heartbeat
    return b"event: heartbeat\ndata: %b\n\n" % _full_json(message)


class EventPage(msgspec.Struct):
    """A page of events, each the proto-JSON of `ide_orchestrator.v1.Event`. `next_cursor` is the `after` of
    the next page; when `complete`, there is none."""

    items: list[dict[str, Any]]
    next_cursor: int
    complete: bool
    epoch: int
    last_seq: int
    floor: int


def events_page_json(page: pages.EventPage) -> bytes:
    """The JSON of a page of events. Each event's JSON is made once and shared."""
    items: list[Any] = [msgspec.Raw(json) for segment in page.segments for json in event_jsons(segment)]
    head = page.head
    body = EventPage(items, page.next_after, page.complete, head.epoch, head.last_seq, head.floor)
    return msgspec.json.encode(body)
