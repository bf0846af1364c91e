"""Segments as bytes for each transport: made once per segment, and written to every reader.

A segment's `batch` is a serialised `EventBatch`, so the binary forms only add a head. The JSON forms (the
page, SSE and the WebSocket subprotocol `ideo.v1`) share one list of proto-JSON events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.off_loop import SMALL_BYTES
from server.domain.streams import pages
from server.encoding.event_batch import delimited_event, read_varint, varint
from server.encoding.json_text import replace_surrogates
from server.wire import messages as m
from server.wire.large_events import MAX_EVENT_BYTES, fit_event
from server.wire.refinements import hello_message
from server.wire.text import dumps, dumps_in_steps
from server.wire.token_json import token_event_json

#: Protobuf key of `WatchRefinementResponse.batch` (field 2, length-delimited).
_BATCH_KEY = b"\x12"
#: What surrounds the events of a `WatchRefinementResponse` in proto-JSON.
JSON_HEAD, JSON_TAIL = b'{"batch":{"events":[', b"]}}"


def event_batch_response(segment: Segment) -> bytes:
    """The serialised `WatchRefinementResponse` with the segment's events."""
    return segment.cached(_BATCH_KEY, lambda s: batch_response(s.batch))


async def event_batch_responses(segments: Sequence[Segment], max_event_bytes: int) -> AsyncIterator[bytes]:
    """Serialised `WatchRefinementResponse`s with the events of contiguous segments.

    None is larger than `max_event_bytes`, and one of several events has at most MAX_EVENT_BYTES. The cost is
    per message, not per event, so segments that fit together are sent as one.
    """
    for together in _fitting_together(segments, max_event_bytes):
        if _is_large(together[0], max_event_bytes):
            for response in await _large_segment_responses(together[0], max_event_bytes):
                yield response
        else:
            yield _response(together)


def _is_large(segment: Segment, max_event_bytes: int) -> bool:
    return len(segment.batch) > min(max_event_bytes, MAX_EVENT_BYTES)


def _fitting_together(segments: Sequence[Segment], max_event_bytes: int) -> Iterator[list[Segment]]:
    """The segments in groups that fit into one message; a large one is alone."""
    together: list[Segment] = []
    size = 0
    for segment in segments:
        if together and size + len(segment.batch) > min(max_event_bytes, MAX_EVENT_BYTES):
            yield together
            together, size = [], 0
        together.append(segment)
        size += len(segment.batch)
    if together:
        yield together


def single_response(segments: Sequence[Segment], max_event_bytes: int) -> bytes | None:
    """The response of `event_batch_responses` if it is the only one, as usual at the live end, else None."""
    size = 0
    for segment in segments:
        size += len(segment.batch)
    return _response(segments) if size <= min(max_event_bytes, MAX_EVENT_BYTES) else None


def _response(segments: Sequence[Segment]) -> bytes:
    if len(segments) == 1:
        return event_batch_response(segments[0])
    return batch_response(b"".join([segment.batch for segment in segments]))


def batch_response(batch: bytes) -> bytes:
    """The serialised `WatchRefinementResponse` of a serialised `EventBatch`."""
    return batch_head(len(batch)) + batch


def batch_head(size_bytes: int) -> bytes:
    """What comes in it before a serialised `EventBatch` of this size."""
    return _BATCH_KEY + varint(size_bytes)


async def _large_segment_responses(segment: Segment, max_event_bytes: int) -> list[bytes]:
    """The responses of a segment that does not fit into one, made once for all readers of this limit."""

    def made(shared: Segment) -> list[bytes]:
        events = [fit_event(event, max_event_bytes) for event in shared.events()]
        groups = grouped(map(delimited_event, events), min(max_event_bytes, MAX_EVENT_BYTES))
        return [batch_response(b"".join(group)) for group in groups]

    return await segment.prepared((_large_segment_responses, max_event_bytes), made)


def grouped(entries: Iterable[bytes], max_bytes: int) -> Iterator[list[bytes]]:
    """Entries in groups of at most `max_bytes`, with a byte between two of them, or of one entry."""
    group: list[bytes] = []
    size = 0
    for entry in entries:
        if group and size + len(entry) > max_bytes:
            yield group
            group, size = [], 0
        group.append(entry)
        size += len(entry) + 1
    if group:
        yield group


async def fitting_batch(segment: Segment, max_event_bytes: int) -> bytes:
    """The segment's batch, in which events larger than `max_event_bytes` have parts left out."""
    if not _is_large(segment, max_event_bytes):
        return segment.batch
    responses = await _large_segment_responses(segment, max_event_bytes)
    return b"".join([response[read_varint(response, len(_BATCH_KEY))[1] :] for response in responses])


def message_dict(message: Message) -> dict[str, Any]:
    """Proto-JSON with the contract's field names, as a value."""
    value: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return value


def message_json(message: Message) -> bytes:
    """Proto-JSON with the contract's field names, compact."""
    value = message_dict(message)
    return dumps(value) if message.ByteSize() <= SMALL_BYTES else dumps_in_steps(value)


def full_json(message: Message) -> bytes:
    """The same with every field, so that readers that do not know proto-JSON find every number."""
    return dumps(
        MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    )


def event_jsons(segment: Segment) -> list[bytes]:
    """The proto-JSON of each event, in order of seq: made once, also for parts of the same segment."""
    return segment.cached_each(event_jsons, _event_jsons)


def _event_jsons(segment: Segment) -> list[bytes]:
    return list(map(event_json, segment.events()))


def event_json(event: bytes) -> bytes:
    """The proto-JSON of a serialised event."""
    return token_event_json(event) or message_json(m.Event.FromString(event))


async def prepare_jsons(segment: Segment) -> None:
    """Have the JSON of the segment's events. That of large ones is made off the event loop."""
    await segment.prepare_each(event_jsons, _event_jsons)


async def event_batch_jsons(segments: Sequence[Segment], max_event_bytes: int) -> AsyncIterator[bytes]:
    """As `event_batch_responses`, as proto-JSON, which may be larger than the limit."""
    for together in _fitting_together(segments, max_event_bytes):
        if _is_large(together[0], max_event_bytes):
            for events in await _large_segment_jsons(together[0], max_event_bytes):
                yield batch_json([events])
        else:
            yield batch_json([await fitting_jsons(each, max_event_bytes) for each in together])


def batch_json(events: Iterable[bytes]) -> bytes:
    """The `WatchRefinementResponse` with events, as proto-JSON. events: each one, or several with commas."""
    return b"".join((JSON_HEAD, b",".join(events), JSON_TAIL))


async def _large_segment_jsons(segment: Segment, max_event_bytes: int) -> list[bytes]:
    """The events of each of a large segment's responses, as the elements of a JSON list."""
    responses = await _large_segment_responses(segment, max_event_bytes)

    def made(_: Segment) -> list[bytes]:
        batches = (m.WatchRefinementResponse.FromString(response).batch for response in responses)
        return [b",".join(map(message_json, batch.events)) for batch in batches]

    return await segment.prepared((_large_segment_jsons, max_event_bytes), made)


async def fitting_jsons(segment: Segment, max_event_bytes: int) -> bytes:
    """As `fitting_batch`: the segment's events as the elements of a JSON list."""
    if _is_large(segment, max_event_bytes):
        return b",".join(await _large_segment_jsons(segment, max_event_bytes))
    await prepare_jsons(segment)
    return b",".join(event_jsons(segment))


def batch_json_parts(segment: Segment) -> tuple[bytes, bytes, bytes]:
    """The `WatchRefinementResponse` with the segment's events, as proto-JSON, to be joined."""
    return JSON_HEAD, b",".join(event_jsons(segment)), JSON_TAIL


# --- Messages without events -------------------------------------------------------------------


def hello_response(head: JournalHead) -> m.WatchRefinementResponse:
    """The first message of a stream."""
    return m.WatchRefinementResponse(hello=hello_message(head))


def hello(head: JournalHead) -> bytes:
    """The first message of a stream, serialised."""
    return hello_response(head).SerializeToString()


def hello_json(head: JournalHead) -> bytes:
    """The first message of a stream, as proto-JSON."""
    return full_json(hello_response(head))


def heartbeat_message(last_seq: int, progress: str) -> m.WatchRefinementResponse:
    """A heartbeat."""
    return m.WatchRefinementResponse(
        heartbeat=m.Heartbeat(last_seq=last_seq, progress=replace_surrogates(progress))
    )


def heartbeat(last_seq: int, progress: str = "") -> bytes:
    """A heartbeat, serialised."""
    return heartbeat_message(last_seq, progress).SerializeToString()


def heartbeat_json(last_seq: int, progress: str = "") -> bytes:
    """A heartbeat, as proto-JSON."""
    return full_json(heartbeat_message(last_seq, progress))


def reconnect_message(after_s: float) -> m.WatchRefinementResponse:
    """The advice to reconnect elsewhere."""
    return m.WatchRefinementResponse(reconnect=m.Reconnect(after_ms=int(after_s * 1000)))


def reconnect(after_s: float) -> bytes:
    """The advice to reconnect elsewhere, serialised."""
    return reconnect_message(after_s).SerializeToString()


def reconnect_json(after_s: float) -> bytes:
    """The advice to reconnect elsewhere, as proto-JSON."""
    return full_json(reconnect_message(after_s))


class EventPage(msgspec.Struct):
    """A page of events, each the proto-JSON of `ide_orchestrator.v1.Event`. `next_cursor` is the `after` of
    the next page; when `complete`, there is none."""

    items: list[dict[str, Any]]
    next_cursor: int
    complete: bool
    epoch: int
    last_seq: int
    floor: int


async def events_page_json(page: pages.EventPage) -> bytes:
    """The JSON of a page of events. Each event's JSON is made once and shared."""
    for segment in page.segments:
        await prepare_jsons(segment)
    items: list[Any] = [msgspec.Raw(json) for segment in page.segments for json in event_jsons(segment)]
    head = page.head
    body = EventPage(items, page.next_after, page.complete, head.epoch, head.last_seq, head.floor)
    return msgspec.json.encode(body)
