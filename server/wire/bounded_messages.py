"""A segment's events in messages of a limited size, for WebSockets: each a `WatchRefinementResponse`.

1. No message is larger than the limit, and each has as many events as fit.
2. An event that does not fit alone has parts left out, as `server.wire.large_events` does it.
3. An event is made once for all readers of a limit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial

from server.domain.journal.segments import Segment
from server.encoding.event_batch import delimited_event
from server.wire.large_events import MIN_EVENT_BYTES, fit_event
from server.wire.rendering import JSON_HEAD, JSON_TAIL, batch_json, batch_response, event_json, grouped

#: What a message has beside its events, at most: keys and lengths in binary.
MAX_HEAD_BYTES = max(len(JSON_HEAD) + len(JSON_TAIL), 16)

#: A message, and the seq of its last event.
BoundedMessage = tuple[bytes, int]


async def json_messages(segment: Segment, max_bytes: int) -> AsyncIterator[BoundedMessage]:
    """The messages as proto-JSON."""
    async for jsons, last_seq in _batches(segment, _fitting_json, max_bytes):
        yield batch_json(jsons), last_seq


async def binary_messages(segment: Segment, max_bytes: int) -> AsyncIterator[BoundedMessage]:
    """The messages, serialised."""
    async for entries, last_seq in _batches(segment, _fitting_entry, max_bytes):
        yield batch_response(b"".join(entries)), last_seq


def _fitting_json(max_bytes: int, event: bytes) -> bytes:
    """The event's JSON, which may be several times as large as the event."""
    limit = max_bytes
    while True:
        json = event_json(fit_event(event, limit))
        if len(json) <= max_bytes or limit <= MIN_EVENT_BYTES:
            return json
        limit //= 2


def _fitting_entry(max_bytes: int, event: bytes) -> bytes:
    """The event as an entry of a serialised `EventBatch`."""
    return delimited_event(fit_event(event, max_bytes - MAX_HEAD_BYTES))


async def _batches(
    segment: Segment, fit: Callable[[int, bytes], bytes], max_bytes: int
) -> AsyncIterator[tuple[list[bytes], int]]:
    """The events in batches that fit into a message, each with the seq of its last event."""
    max_batch = max_bytes - MAX_HEAD_BYTES
    render = partial(_fitting_events, fit, max_batch)
    key = (fit, max_bytes)
    await segment.prepare_each(key, render)
    last_seq = segment.first_seq - 1
    for batch in grouped(segment.cached_each(key, render), max_batch):
        last_seq += len(batch)
        yield batch, last_seq


def _fitting_events(fit: Callable[[int, bytes], bytes], max_bytes: int, segment: Segment) -> list[bytes]:
    return [fit(max_bytes, event) for event in segment.events()]
