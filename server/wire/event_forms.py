"""The messages of WatchRefinement and ListEvents in the form that a caller reads: protobuf or proto-JSON.

What many readers get is made once per segment, in either form (`server.wire.rendering`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from google.protobuf.message import Message

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.off_loop import REQUESTS, SMALL_BYTES
from server.domain.streams.pages import EventPage
from server.wire import messages as m
from server.wire import rendering
from server.wire.refinements import hello_message


class MessageForm(Protocol):
    """The form of a call's messages. `max_event_bytes`: larger events have parts left out."""

    def hello(self, head: JournalHead) -> bytes:
        """The first WatchRefinementResponse."""
        ...

    def heartbeat(self, last_seq: int, progress: str) -> bytes:
        """The WatchRefinementResponse of a heartbeat."""
        ...

    def reconnect(self, after_s: float) -> bytes:
        """The WatchRefinementResponse that advises to reconnect elsewhere."""
        ...

    def single(self, segments: Sequence[Segment], max_event_bytes: int) -> bytes | None:
        """The one WatchRefinementResponse of contiguous segments; None if there are several, or if it is not
        made at once."""
        ...

    def batches(self, segments: Sequence[Segment], max_event_bytes: int) -> AsyncIterator[bytes]:
        """The WatchRefinementResponses of contiguous segments."""
        ...

    async def page(self, page: EventPage, max_event_bytes: int) -> bytes:
        """The ListEventsResponse of a page."""
        ...

    async def message(self, message: Message) -> bytes:
        """Any other message."""
        ...

    def text(self, message: Message) -> bytes:
        """Any other message, for callers that are off the event loop."""
        ...


class ProtoForm:
    """Protobuf."""

    hello = staticmethod(rendering.hello)
    heartbeat = staticmethod(rendering.heartbeat)
    reconnect = staticmethod(rendering.reconnect)
    single = staticmethod(rendering.single_response)
    batches = staticmethod(rendering.event_batch_responses)

    async def page(self, page: EventPage, max_event_bytes: int) -> bytes:
        """The ListEventsResponse: its field 1 is that of `EventBatch`, so a segment's batch is a part of it,
        unchanged."""
        batches = [await rendering.fitting_batch(segment, max_event_bytes) for segment in page.segments]
        return b"".join([*batches, _page_without_events(page).SerializeToString()])

    async def message(self, message: Message) -> bytes:
        """Any other message."""
        return self.text(message)

    def text(self, message: Message) -> bytes:
        """Any other message."""
        return message.SerializeToString()


class JsonForm:
    """Proto-JSON with the contract's field names."""

    hello = staticmethod(rendering.hello_json)
    heartbeat = staticmethod(rendering.heartbeat_json)
    reconnect = staticmethod(rendering.reconnect_json)
    batches = staticmethod(rendering.event_batch_jsons)

    def single(self, segments: Sequence[Segment], max_event_bytes: int) -> None:
        """None: large segments are made off the event loop."""

    async def page(self, page: EventPage, max_event_bytes: int) -> bytes:
        """The ListEventsResponse."""
        rest = rendering.message_json(_page_without_events(page))
        if not page.segments:
            return rest
        events = [await rendering.fitting_jsons(segment, max_event_bytes) for segment in page.segments]
        # The position is never empty.
        return b'{"events":[%b],%b' % (b",".join(events), rest[1:])

    async def message(self, message: Message) -> bytes:
        """Any other message; a large one is made off the event loop."""
        if message.ByteSize() <= SMALL_BYTES:
            return self.text(message)
        return await REQUESTS.run(self.text, message)

    def text(self, message: Message) -> bytes:
        """Any other message, for callers that are off the event loop."""
        return rendering.message_json(message)


def _page_without_events(page: EventPage) -> m.ListEventsResponse:
    return m.ListEventsResponse(position=hello_message(page.head), complete=page.complete)


PROTO, JSON = ProtoForm(), JsonForm()
