"""A stream's events as WebSocket messages, in the form that the client chose.

A segment's bytes are made once and written to all readers (ADR 0006).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from typing import assert_never

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.streams.legacy_tokens import Framing
from server.domain.streams.steps import Heartbeat, ReconnectElsewhere
from server.domain.streams.subscription import Subscription
from server.encoding.json_text import dump
from server.http.handshake import Form
from server.http.websocket_frames import (
    FRAME_BYTES,
    binary_frame,
    binary_header,
    text_frame,
    text_header,
    text_part,
)
from server.wire import rendering
from server.wire.bounded_messages import MAX_HEAD_BYTES, binary_messages, json_messages
from server.wire.codec import ProtobufCodec

_CODEC = ProtobufCodec()
_LEGACY = Framing(text_part, text_header)


@lru_cache(maxsize=64)
def _heartbeat_json(last_seq: int, progress: str) -> bytes:
    return text_frame(rendering.heartbeat_json(last_seq, progress))


@lru_cache(maxsize=64)
def _heartbeat_proto(last_seq: int, progress: str) -> bytes:
    return binary_frame(rendering.heartbeat(last_seq, progress))


@lru_cache(maxsize=64)
def _progress_frame(progress: str) -> bytes:
    return text_frame(
        dump({"event_type": "on_state_update", "data": {"messages": progress, "status": "running"}})
    )


def _json_message(segment: Segment) -> bytes:
    return text_frame(*rendering.batch_json_parts(segment))


def _proto_message(segment: Segment) -> bytes:
    return binary_frame(rendering.batch_response(segment.batch))


@lru_cache(maxsize=1024)
def _proto_head(size_bytes: int) -> bytes:
    """What comes before a batch of this size, up to _PROTO_AT_HAND_BYTES, in its message."""
    head = rendering.batch_head(size_bytes)
    return binary_header(len(head) + size_bytes) + head


#: Bytes of events whose messages are made at once, for all readers at the live end. JSON takes time for each
#: event; protobuf is there already, and is one frame.
_JSON_AT_HAND_BYTES, _PROTO_AT_HAND_BYTES = 16 << 10, FRAME_BYTES - 16
#: Up to this size the same bytes go to all readers. What is larger is written frame by frame, each a copy:
#: a part of a large message that waits to be sent would keep all of it in memory.
MAX_SHARED_WRITE_BYTES = 128 << 10

#: Framed messages, or a part of one, and the seq of the last event that is complete with it.
Piece = tuple[bytes, int]


class JsonEventEncoder:
    """Subprotocol ideo.v1: each message is a WatchRefinementResponse as proto-JSON."""

    form = Form.JSON

    def __init__(self, max_message_bytes: int | None = None) -> None:
        """max_message_bytes: the size of the largest message; None for no limit."""
        self.max_message_bytes = max_message_bytes

    def hello(self, head: JournalHead) -> bytes:
        """The first message."""
        return text_frame(rendering.hello_json(head))

    async def segment(self, segment: Segment) -> AsyncIterator[Piece]:
        """The message with the segment's events, or several if it is too large."""
        if self.max_message_bytes is None or len(segment.batch) <= self.max_message_bytes:
            await rendering.prepare_jsons(segment)
            frames = await segment.prepared(Form.JSON, _json_message)
            if self.max_message_bytes is None or len(frames) <= self.max_message_bytes:
                yield frames, segment.last_seq
                return
        async for message, last_seq in json_messages(segment, self.max_message_bytes):
            yield text_frame(message), last_seq

    def at_hand(self, segment: Segment) -> bytes | None:
        """The same at once, up to MAX_SHARED_WRITE_BYTES; None if it is to be read with `segment`."""
        if len(segment.batch) > _JSON_AT_HAND_BYTES:
            return None
        frames = segment.cached(Form.JSON, _json_message)
        largest = min(self.max_message_bytes or MAX_SHARED_WRITE_BYTES, MAX_SHARED_WRITE_BYTES)
        return frames if len(frames) <= largest else None

    def heartbeat(self, step: Heartbeat) -> bytes:
        """A heartbeat, made once for all readers."""
        return _heartbeat_json(step.last_seq, step.progress)

    def shared_heartbeat(self, step: Heartbeat) -> bytes | None:
        """The same: all readers get the same bytes."""
        return self.heartbeat(step)

    def reconnect(self, step: ReconnectElsewhere) -> bytes:
        """The advice to reconnect elsewhere."""
        return text_frame(rendering.reconnect_json(step.after_s))

    def error(self, message: str, context: str) -> bytes:
        """Nothing: the close code says it."""
        return b""


class ProtoEventEncoder:
    """Subprotocol ideo.v1.proto: the same as binary messages."""

    form = Form.PROTO

    def __init__(self, max_message_bytes: int | None = None) -> None:
        """max_message_bytes: the size of the largest message; None for no limit."""
        self.max_message_bytes = max_message_bytes
        #: Bytes of events whose message is made at once.
        self._at_hand_bytes = _PROTO_AT_HAND_BYTES
        if max_message_bytes is not None:
            self._at_hand_bytes = min(_PROTO_AT_HAND_BYTES, max_message_bytes - MAX_HEAD_BYTES)

    def hello(self, head: JournalHead) -> bytes:
        """The first message."""
        return binary_frame(rendering.hello(head))

    async def segment(self, segment: Segment) -> AsyncIterator[Piece]:
        """The message with the segment's events, or several if it is too large."""
        if self.max_message_bytes is None or len(segment.batch) + MAX_HEAD_BYTES <= self.max_message_bytes:
            yield segment.cached(Form.PROTO, _proto_message), segment.last_seq
            return
        async for message, last_seq in binary_messages(segment, self.max_message_bytes):
            yield binary_frame(message), last_seq

    def at_hand(self, segment: Segment) -> bytes | None:
        """The same at once, up to MAX_SHARED_WRITE_BYTES; None if it is to be read with `segment`."""
        batch = segment.batch
        size_bytes = len(batch)
        if size_bytes > self._at_hand_bytes:
            return None
        # Not kept: those who read it later make it again in less than a microsecond.
        return _proto_head(size_bytes) + batch

    def heartbeat(self, step: Heartbeat) -> bytes:
        """A heartbeat, made once for all readers."""
        return _heartbeat_proto(step.last_seq, step.progress)

    def shared_heartbeat(self, step: Heartbeat) -> bytes | None:
        """The same: all readers get the same bytes."""
        return self.heartbeat(step)

    def reconnect(self, step: ReconnectElsewhere) -> bytes:
        """The advice to reconnect elsewhere."""
        return binary_frame(rendering.reconnect(step.after_s))

    def error(self, message: str, context: str) -> bytes:
        """Nothing: the close code says it."""
        return b""


class LegacyFrameEncoder:
    """No subprotocol: legacy frames, one message each."""

    form = Form.LEGACY
    max_message_bytes: int | None = None

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._progress = ""

    def hello(self, head: JournalHead) -> bytes:
        """Nothing: there is no legacy frame for it."""
        return b""

    def segment(self, segment: Segment) -> AsyncIterator[Piece]:
        """The frames of the segment's events, in pieces."""
        return self._subscription.legacy_pieces(segment, _CODEC, _LEGACY)

    def at_hand(self, segment: Segment) -> bytes | None:
        """The same at once, up to MAX_SHARED_WRITE_BYTES; None if it is to be read with `segment`."""
        if len(segment.batch) > _JSON_AT_HAND_BYTES:
            return None
        frames = self._subscription.legacy_at_hand(segment, _CODEC, _LEGACY)
        return None if frames is None or len(frames) > MAX_SHARED_WRITE_BYTES else frames

    def heartbeat(self, step: Heartbeat) -> bytes:
        """The runtime's progress when it changed. Otherwise the socket's own ping is the heartbeat."""
        if step.progress == self._progress:
            return b""
        self._progress = step.progress
        return _progress_frame(step.progress)

    def shared_heartbeat(self, step: Heartbeat) -> bytes | None:
        """Nothing while there is no progress; then it depends on what each reader has seen."""
        return None if step.progress else b""

    def reconnect(self, step: ReconnectElsewhere) -> bytes:
        """Nothing: the close makes readers reconnect."""
        return b""

    def error(self, message: str, context: str) -> bytes:
        """The legacy error frame."""
        return text_frame(dump({"event_type": "error", "data": {"error": message, "context": context}}))


Encoder = JsonEventEncoder | ProtoEventEncoder | LegacyFrameEncoder


def encoder_of(form: Form, subscription: Subscription, max_message_bytes: int | None) -> Encoder:
    """The encoder of a form, for one reader. max_message_bytes: the size of its largest message; None for no
    limit, which legacy frames never have."""
    match form:
        case Form.LEGACY:
            return LegacyFrameEncoder(subscription)
        case Form.JSON:
            return JsonEventEncoder(max_message_bytes)
        case Form.PROTO:
            return ProtoEventEncoder(max_message_bytes)
        case other:
            assert_never(other)
