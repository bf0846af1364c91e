"""Token frames read one by one by the parser, and together as frames that are similar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from server.domain.journal.events import Event, UpstreamFrame
from server.encoding.frame_delta import DeltaContext, Encoding, digest_of, frame_digest
from server.frames.interpreter import Interpreter
from server.wire.codec import ProtobufCodec

CODEC = ProtobufCodec()
TIME = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
EPOCH = 3


def parsed(sent: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The events of the frames, each read by the parser, and the frames' digests."""
    interpreter, events = Interpreter(), list[bytes]()
    for number, frame in enumerate(sent):
        # With another end than the frame before, it cannot be similar to it.
        for kind in interpreter.interpret(frame + b" " * (number % 2)).kinds:
            if isinstance(kind, UpstreamFrame):
                kind = replace(kind, body=frame)
            events.append(CODEC.encode(Event(len(events) + 1, EPOCH, TIME, kind)))
    return events, [frame_digest(frame) for frame in sent]


def together(
    sent: Sequence[bytes], sizes: Sequence[int]
) -> tuple[list[bytes], list[bytes], list[bytes], int]:
    """The same with the frames taken so many at a time; the deltas, too, and how many frames were taken
    as similar."""
    interpreter, encoder = Interpreter(), CODEC.token_encoder()
    events: list[bytes] = []
    digests: list[bytes] = []
    deltas: list[bytes] = []
    similar = start = 0
    turn = 0
    while start < len(sent):
        end = min(start + sizes[turn % len(sizes)], len(sent))
        turn += 1
        while start < end:
            tokens = interpreter.similar_tokens(sent[:end], start)
            if tokens is not None:
                events += encoder.encode(
                    len(events) + 1, EPOCH, TIME, tokens.token, tokens.place, tokens.texts
                )
                digests += tokens.digests
                deltas += tokens.deltas
                similar += len(tokens.texts)
                start += len(tokens.texts)
                continue
            meaning = interpreter.interpret(sent[start])
            for kind in meaning.kinds:
                events.append(CODEC.encode(Event(len(events) + 1, EPOCH, TIME, kind)))
            digests.append(digest_of(meaning.delta) or b"")
            deltas.append(meaning.delta)
            start += 1
    return events, digests, deltas, similar


def tokens_again(deltas: Sequence[bytes]) -> list[bytes]:
    """The token frames of deltas."""
    context = DeltaContext()
    read = [context.decode(delta) for delta in deltas if delta]
    return [text for encoding, text in read if encoding is Encoding.TOKEN]
