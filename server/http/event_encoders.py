"""A stream's events as WebSocket messages, in the form that the client chose.

A segment's bytes are made once and written to all readers (ADR 0006).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.streams.legacy_frames import LegacyFrameSubscription
from server.domain.streams.steps import Heartbeat, ReconnectElsewhere
from server.encoding.json_text import dump
from server.http.handshake import Form
from server.http.websocket_frames import binary_frame, text_frame
from server.wire import rendering

#: Legacy frames are written in pieces of PIECE_BYTES. Those of one segment are shared up to SHARED_BYTES.
PIECE_BYTES, SHARED_BYTES = 256 << 10, 1 << 20


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


#: Framed messages, and the seq of the last event that they complete.
Piece = tuple[bytes, int]


class JsonEventEncoder:
    """Subprotocol ideo.v1: each message is a WatchRefinementResponse as proto-JSON."""

    form = Form.JSON

    def hello(self, head: JournalHead) -> bytes:
        """The first message."""
        return text_frame(rendering.hello_json(head))

    async def segment(self, segment: Segment) -> AsyncIterator[Piece]:
        """The message with the segment's events."""
        frames = segment.cached(Form.JSON, lambda shared: text_frame(rendering.batch_json(shared)))
        yield frames, segment.last_seq

    def heartbeat(self, step: Heartbeat) -> bytes:
        """A heartbeat, made once for all readers."""
        return _heartbeat_json(step.last_seq, step.progress)

    def reconnect(self, step: ReconnectElsewhere) -> bytes:
        """The advice to reconnect elsewhere."""
        return text_frame(rendering.reconnect_json(step.after_s))

    def error(self, message: str, context: str) -> bytes:
        """Nothing: the close code says it."""
        return b""


class ProtoEventEncoder:
    """Subprotocol ideo.v1.proto: the same as binary messages."""

    form = Form.PROTO

    def hello(self, head: JournalHead) -> bytes:
        """The first message."""
        return binary_frame(rendering.hello(head))

    async def segment(self, segment: Segment) -> AsyncIterator[Piece]:
        """The message with the segment's events."""
        frames = segment.cached(
            Form.PROTO, lambda shared: binary_frame(rendering.event_batch_response(shared))
        )
        yield frames, segment.last_seq

    def heartbeat(self, step: Heartbeat) -> bytes:
        """A heartbeat, made once for all readers."""
        return _heartbeat_proto(step.last_seq, step.progress)

    def reconnect(self, step: ReconnectElsewhere) -> bytes:
        """The advice to reconnect elsewhere."""
        return binary_frame(rendering.reconnect(step.after_s))

    def error(self, message: str, context: str) -> bytes:
        """Nothing: the close code says it."""
        return b""


class LegacyFrameEncoder:
    """No subprotocol: legacy frames, one message each."""

    form = Form.LEGACY

    def __init__(self, subscription: LegacyFrameSubscription) -> None:
        self._subscription = subscription
        self._progress = ""

    def hello(self, head: JournalHead) -> bytes:
        """Nothing: there is no legacy frame for it."""
        return b""

    async def segment(self, segment: Segment) -> AsyncIterator[Piece]:
        """The frames of the segment's events, in pieces. Small ones are shared; others are made for this
        reader alone, because state frames repeat everything."""
        shared: bytes | None = segment.get_cached(Form.LEGACY)
        if shared is not None:
            yield shared, segment.last_seq
            return
        await self._subscription.prepare(segment)
        kept: list[bytes] | None = []
        waiting: list[bytes] = []
        size = total = 0
        for seq, legacy_frames in self._subscription.frames_of(segment):
            for message in map(text_frame, legacy_frames):
                waiting.append(message)
                size += len(message)
            if size < PIECE_BYTES and seq < segment.last_seq:
                continue
            piece, total = b"".join(waiting), total + size
            kept = [*kept, piece] if kept is not None and total <= SHARED_BYTES else None
            if seq == segment.last_seq and kept is not None:
                whole = kept[0] if len(kept) == 1 else b"".join(kept)
                segment.cached(Form.LEGACY, lambda _, whole=whole: whole)  # type: ignore[misc]
            yield piece, seq
            waiting, size = [], 0

    def heartbeat(self, step: Heartbeat) -> bytes:
        """The runtime's progress when it changed. Otherwise the socket's own ping is the heartbeat."""
        if step.progress == self._progress:
            return b""
        self._progress = step.progress
        return _progress_frame(step.progress)

    def reconnect(self, step: ReconnectElsewhere) -> bytes:
        """Nothing: the close makes readers reconnect."""
        return b""

    def error(self, message: str, context: str) -> bytes:
        """The legacy error frame."""
        return text_frame(dump({"event_type": "error", "data": {"error": message, "context": context}}))


Encoder = JsonEventEncoder | ProtoEventEncoder | LegacyFrameEncoder
