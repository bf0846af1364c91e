"""Large frames in a worker: what it computes of one, and the hub's side of that (ADR 0056)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from server.domain.journal.events import Event, EventKind, InputRequested, StateUpdate, Token, UpstreamFrame
from server.domain.runs.frame_worker import FrameNotRead, FramePlace, FrameReading, FrameWorker
from server.domain.runs.journal_entries import JournalEntry, entry_of
from server.domain.runs.runtime import Interpretation
from server.domain.worker import NotComputed, Worker
from server.frames.interpreter import Interpreter
from server.wire.codec import ProtobufCodec

#: Bytes of earlier frames that are given back, to be sent again with the next one. Above that, sending them
#: costs more than they save.
MAX_KEPT_BYTES = 4 << 20
#: Bytes for which there is always room: those of thousands of files.
MIN_ROOM_BYTES = 1 << 20

_CODEC = ProtobufCodec()


class FramesInWorker(FrameWorker):
    """Has frames interpreted by a worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def interpret(self, state: bytes, calls: bytes, frame: bytes, place: FramePlace) -> FrameReading:
        """As in `FrameWorker`."""
        try:
            reading = await self._worker.run(read_frame, state, calls, frame, place)
        except NotComputed:
            raise FrameNotRead from None
        return with_bodies(reading, frame)


def read_frame(state: bytes, calls: bytes, frame: bytes, place: FramePlace) -> FrameReading:
    """What the frame means, with the entries of its events. The hub has the frame already: its kinds come
    without it.

    One after which the hub would have to remember more than it has room for, such as a hundred thousand
    files, is kept uninterpreted.
    """
    reading = _reading(state, calls, frame, place, Interpreter.interpret)
    if len(reading.change) > max(place.room_bytes, MIN_ROOM_BYTES):
        reading = _reading(state, calls, frame, place, Interpreter.keep)
    return with_bodies(reading, b"")


def _reading(
    state: bytes,
    calls: bytes,
    frame: bytes,
    place: FramePlace,
    read: Callable[[Interpreter, bytes], Interpretation],
) -> FrameReading:
    interpreter = Interpreter.of(state, calls)
    meaning = read(interpreter, frame)
    entries: list[JournalEntry] = []
    for seq, kind in enumerate(meaning.kinds, place.seq):
        if isinstance(kind, InputRequested):
            kind = replace(kind, expires_at=place.expires_at)
        entries.append(entry_of(Event(seq, place.epoch, place.time, kind), _CODEC))
    if interpreter.memory_bytes > min(place.room_bytes, MAX_KEPT_BYTES):
        for seq, kind in enumerate(meaning.kinds, place.seq):
            interpreter.release_files(seq, kind)
        interpreter.forget_frames()
    change = interpreter.after(meaning)
    kinds = tuple(map(_without_content, meaning.kinds))
    return FrameReading(replace(meaning, kinds=kinds), tuple(entries), change)


def _without_content(kind: EventKind) -> EventKind:
    """What the hub needs to know of an event whose entry it has."""
    match kind:
        case StateUpdate():
            return StateUpdate(message_count=kind.message_count)
        case Token():
            return Token()
        case InputRequested():
            return InputRequested("")
        case _:
            assert isinstance(kind, UpstreamFrame)
            return kind


def with_bodies(reading: FrameReading, body: bytes) -> FrameReading:
    """The reading, in which a frame that was not interpreted has this body."""

    def with_body(kind: Any) -> Any:
        return replace(kind, body=body) if isinstance(kind, UpstreamFrame) else kind

    meaning = reading.meaning
    return replace(reading, meaning=replace(meaning, kinds=tuple(map(with_body, meaning.kinds))))
