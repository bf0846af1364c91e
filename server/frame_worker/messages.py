"""Messages between the hub and its worker, over pipes: a count, the length of each part, and the parts.

A part may have many mebibytes. It is passed on as it is: it is neither copied into a larger text nor made of
objects, during which nothing else would run in the hub.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

from server.domain.journal.events import UpstreamFrame
from server.domain.quarantine.shapes import Shape
from server.domain.runs.frame_worker import FramePlace, FrameReading
from server.domain.runs.journal_entries import JournalEntry
from server.domain.runs.runtime import Interpretation

_COUNT, _LENGTH = struct.Struct("<I"), struct.Struct("<Q")

#: What the worker says first.
READY: Sequence[bytes] = ()


def send(descriptor: int, parts: Sequence[bytes]) -> None:
    """Write a message. Raises OSError."""
    head = _COUNT.pack(len(parts)) + b"".join(_LENGTH.pack(len(part)) for part in parts)
    for part in (head, *parts):
        left = memoryview(part)
        while left:
            left = left[os.write(descriptor, left) :]


def receive(stream: BinaryIO) -> list[bytes]:
    """The next message. Raises EOFError."""
    (count,) = _COUNT.unpack(_exactly(stream, _COUNT.size))
    lengths = [_LENGTH.unpack(_exactly(stream, _LENGTH.size))[0] for _ in range(count)]
    return [_exactly(stream, length) for length in lengths]


def _exactly(stream: BinaryIO, length: int) -> bytes:
    # A large part is read straight into the bytes that are returned.
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


@dataclass(frozen=True, slots=True)
class Question:
    """What the hub asks: as `FrameWorker.interpret`."""

    state: bytes
    calls: bytes
    frame: bytes
    place: FramePlace

    def parts(self) -> list[bytes]:
        """The question as a message."""
        return [pickle.dumps(self.place), self.state, self.calls, self.frame]

    @classmethod
    def of(cls, parts: Sequence[bytes]) -> Question:
        """The question of a message."""
        place, state, calls, frame = parts
        return cls(state, calls, frame, _loaded(place))


def answer_parts(reading: FrameReading) -> list[bytes]:
    """The worker's answer as a message. The hub has the frame already."""
    meaning = reading.meaning
    head = replace(meaning, kinds=tuple(map(_without_body, meaning.kinds)), delta=b"")
    shapes = [entry.shape for entry in reading.entries]
    entries = [part for entry in reading.entries for part in (entry.event, entry.file_changes)]
    return [pickle.dumps((head, shapes)), meaning.delta, reading.change, *entries]


def read_answer(parts: Sequence[bytes], frame: bytes) -> FrameReading:
    """The reading of a message that answers the question about the frame."""
    head, delta, change, *entries = parts
    meaning, shapes = cast(tuple[Interpretation, list[Shape | None]], _loaded(head))
    kinds = tuple(
        replace(kind, body=frame) if isinstance(kind, UpstreamFrame) else kind for kind in meaning.kinds
    )
    return FrameReading(
        replace(meaning, kinds=kinds, delta=delta),
        tuple(map(JournalEntry, entries[::2], entries[1::2], shapes)),
        change,
    )


def _without_body(kind: Any) -> Any:
    return replace(kind, body=b"") if isinstance(kind, UpstreamFrame) else kind


def _loaded(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301 - written by the other end of a pipe that the hub made
