"""WebSocket messages as the bytes on the wire, head included (RFC 6455 section 5.2).

What a server sends is not masked, so the bytes are the same for every client: a segment's are made
once and written to all of them (ADR 0006).
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from functools import lru_cache

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.streams.legacy_frames import LegacyFrameSubscription
from server.domain.streams.steps import Heartbeat, ReconnectElsewhere
from server.encoding.json_text import dump
from server.http.handshake import Form
from server.wire import rendering

#: Bytes of the seed's frames that are made before they are written, and that are kept for others.
PIECE_BYTES, SHARED_BYTES = 256 << 10, 1 << 20

_TEXT = 0x81
_BINARY = 0x82
_CLOSE = 0x88


def frame_head(kind: int, size: int) -> bytes:
    """The head of an unfragmented, unmasked frame."""
    if size < 126:
        return bytes((kind, size))
    if size < 1 << 16:
        return struct.pack("!BBH", kind, 126, size)
    return struct.pack("!BBQ", kind, 127, size)


def text_frame(payload: bytes) -> bytes:
    """A text message; the payload is UTF-8."""
    return frame_head(_TEXT, len(payload)) + payload


def binary_frame(payload: bytes) -> bytes:
    """A binary message."""
    return frame_head(_BINARY, len(payload)) + payload


def close_frame(code: int, reason: str) -> bytes:
    """A close; the reason has at most 123 bytes."""
    payload = struct.pack("!H", code) + reason.encode()
    return frame_head(_CLOSE, len(payload)) + payload


@lru_cache(maxsize=64)
def _beat_json(last_seq: int, progress: str) -> bytes:
    return text_frame(rendering.heartbeat_json(last_seq, progress))


@lru_cache(maxsize=64)
def _beat_proto(last_seq: int, progress: str) -> bytes:
    return binary_frame(rendering.heartbeat(last_seq, progress))


@lru_cache(maxsize=64)
def _progress_frame(progress: str) -> bytes:
    return text_frame(
        dump({"event_type": "on_state_update", "data": {"messages": progress, "status": "running"}})
    )


#: Framed messages, and the seq of the last event that they bring whole.
Piece = tuple[bytes, int]


class JsonEventEncoder:
    """Subprotocol ideo.v1: each message is a WatchRefinementResponse as proto-JSON."""

    form = Form.JSON

    def hello(self, head: JournalHead) -> bytes:
        """The first message."""
        return text_frame(rendering.hello_json(head))

    async def segment(self, segment: Segment) -> AsyncIterator[Piece]:
        """The message that brings the segment's events."""
        frames = segment.cached(Form.JSON, lambda shared: text_frame(rendering.batch_json(shared)))
        yield frames, segment.last_seq

    def beat(self, beat: Heartbeat) -> bytes:
        """A sign of life."""
        return _beat_json(beat.last_seq, beat.progress)

    def elsewhere(self, word: ReconnectElsewhere) -> bytes:
        """The word to go elsewhere."""
        return text_frame(rendering.reconnect_json(word.after_s))

    def fault(self, error: str, context: str) -> bytes:
        """The close says it all."""
        return b""


class ProtoEventEncoder:
    """Subprotocol ideo.v1.proto: the same as binary messages."""

    form = Form.PROTO

    def hello(self, head: JournalHead) -> bytes:
        """The first message."""
        return binary_frame(rendering.hello(head))

    async def segment(self, segment: Segment) -> AsyncIterator[Piece]:
        """The message that brings the segment's events."""
        frames = segment.cached(
            Form.PROTO, lambda shared: binary_frame(rendering.event_batch_response(shared))
        )
        yield frames, segment.last_seq

    def beat(self, beat: Heartbeat) -> bytes:
        """A sign of life."""
        return _beat_proto(beat.last_seq, beat.progress)

    def elsewhere(self, word: ReconnectElsewhere) -> bytes:
        """The word to go elsewhere."""
        return binary_frame(rendering.reconnect(word.after_s))

    def fault(self, error: str, context: str) -> bytes:
        """The close says it all."""
        return b""


class LegacyFrameEncoder:
    """No subprotocol: the seed's frames, one message each; without a hello."""

    form = Form.SEED

    def __init__(self, subscription: LegacyFrameSubscription) -> None:
        self._subscription = subscription
        self._progress = ""

    def hello(self, head: JournalHead) -> bytes:
        """The seed knows none."""
        return b""

    async def segment(self, segment: Segment) -> AsyncIterator[Piece]:
        """The frames of the segment's events, in pieces: shared if they are few, else made for this
        reader, since state frames repeat everything."""
        made: bytes | None = segment.get_cached(Form.SEED)
        if made is not None:
            yield made, segment.last_seq
            return
        await self._subscription.prepare(segment)
        kept: list[bytes] | None = []
        waiting: list[bytes] = []
        size = total = 0
        for seq, frames in self._subscription.frames_of(segment):
            for frame in map(text_frame, frames):
                waiting.append(frame)
                size += len(frame)
            if size < PIECE_BYTES and seq < segment.last_seq:
                continue
            piece, total = b"".join(waiting), total + size
            kept = [*kept, piece] if kept is not None and total <= SHARED_BYTES else None
            if seq == segment.last_seq and kept is not None:
                whole = kept[0] if len(kept) == 1 else b"".join(kept)
                segment.cached(Form.SEED, lambda _, whole=whole: whole)  # type: ignore[misc]
            yield piece, seq
            waiting, size = [], 0

    def beat(self, beat: Heartbeat) -> bytes:
        """The runtime's progress when it changed. A plain sign of life is the socket's own ping."""
        if beat.progress == self._progress:
            return b""
        self._progress = beat.progress
        return _progress_frame(beat.progress)

    def elsewhere(self, word: ReconnectElsewhere) -> bytes:
        """The seed knows none: its readers come back when they are closed."""
        return b""

    def fault(self, error: str, context: str) -> bytes:
        """The seed's error frame."""
        return text_frame(dump({"event_type": "error", "data": {"error": error, "context": context}}))


Messages = JsonEventEncoder | ProtoEventEncoder | LegacyFrameEncoder
