"""Server-sent events: the bytes of a stream, made once per segment and written to every reader.

With names, each has the kind of the event, or of the message without one, as its `event`. Without, a browser
passes all of them to `onmessage`, and messages without an event have the form of `ideo.v1`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.wire import messages as m
from server.wire.rendering import (
    event_jsons,
    full_json,
    heartbeat_message,
    hello_response,
    prepare_jsons,
    reconnect_message,
)


@dataclass(frozen=True, slots=True)
class ServerSentEvents:
    """The form of a stream. named: whether its events have names. hello_has_id: whether the first message has
    the reader's cursor as its id."""

    named: bool = True
    hello_has_id: bool = False
    over: ClassVar[bool] = False

    async def segment(self, segment: Segment, head: JournalHead) -> bytes:
        """The segment's events: id the seq, data the JSON."""
        await prepare_jsons(segment)
        return await segment.prepared((ServerSentEvents, self.named), self._segment)

    def _segment(self, segment: Segment) -> bytes:
        parts = []
        events = m.EventBatch.FromString(segment.batch).events
        for event, json in zip(events, event_jsons(segment), strict=True):
            name = b"event: %b\n" % (event.WhichOneof("kind") or "unknown").encode() if self.named else b""
            parts.append(b"id: %d\n%bdata: %b\n\n" % (event.seq, name, json))
        return b"".join(parts)

    def hello(self, head: JournalHead, cursor: int) -> bytes:
        """The first message of a stream."""
        message_id = b"id: %d\n" % cursor if self.hello_has_id else b""
        return message_id + self._without_event(hello_response(head))

    def heartbeat(self, last_seq: int, progress: str = "") -> bytes:
        """A heartbeat. Without an id, it does not move the cursor."""
        return self._without_event(heartbeat_message(last_seq, progress))

    def reconnect(self, after_s: float) -> bytes:
        """The advice to reconnect elsewhere. `retry` makes an EventSource wait."""
        message = reconnect_message(after_s)
        return b"retry: %d\n%b" % (message.reconnect.after_ms, self._without_event(message))

    def _without_event(self, message: m.WatchRefinementResponse) -> bytes:
        if not self.named:
            return b"data: %b\n\n" % full_json(message)
        kind = message.WhichOneof("kind")
        assert kind is not None
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), full_json(getattr(message, kind)))
