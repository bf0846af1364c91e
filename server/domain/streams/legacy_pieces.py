"""What readers of legacy frames share: framed frames of consecutive events, and the parts of large ones."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from server.domain.journal.frame_reconstruction import LegacyFile, Part

#: Bytes from which on a piece is not extended. A larger frame is a piece of its own.
PIECE_BYTES = 64 << 10
#: Bytes of a part of a large frame that are framed at a time: they fit a frame of the transport.
_SLICE_BYTES = 60 << 10
#: What Python needs for a piece.
_OWN_BYTES = 400


class SmallFrames:
    """The framed legacy frames of consecutive events."""

    def __init__(self, first_seq: int, data: bytes, ends: array[int]) -> None:
        """ends: the index in `data` after the frames of each event."""
        self.first_seq, self.last_seq = first_seq, first_seq + len(ends) - 1
        self._data, self._ends = data, ends
        self.size_bytes = _OWN_BYTES + len(data) + 8 * len(ends)
        self.recently_read = True

    def part(self, first: int, last: int) -> bytes:
        """The frames of events `first` to `last`: the same object for all who need the whole."""
        start = self._ends[first - self.first_seq - 1] if first > self.first_seq else 0
        return self._data[start : self._ends[min(last, self.last_seq) - self.first_seq]]


class LargeFrames:
    """The legacy frames of one event, which are framed while they are written."""

    def __init__(self, seq: int, frames: Sequence[Sequence[Part]]) -> None:
        self.first_seq = self.last_seq = seq
        self.frames = frames
        self.size_bytes = sum(len(part) for frame in frames for part in frame if isinstance(part, bytes))
        self.recently_read = True

    @property
    def files(self) -> Iterator[LegacyFile]:
        """The files that are not kept in the frames."""
        return (part for frame in self.frames for part in frame if isinstance(part, LegacyFile))

    @property
    def needed_bytes(self) -> int:
        """What a reader keeps while it writes them: what is here, and one of the files."""
        return self.size_bytes + max((file.size_bytes for file in self.files), default=0)


Piece: TypeAlias = SmallFrames | LargeFrames


def is_large(frames: Sequence[Sequence[Part]]) -> bool:
    """Whether the frames of an event are a piece of their own."""
    size = 0
    for frame in frames:
        for part in frame:
            if isinstance(part, LegacyFile):
                return True
            size += len(part)
    return size >= PIECE_BYTES


def slices(part: bytes) -> Iterator[bytes]:
    """The part, cut into what is framed at a time."""
    if len(part) <= _SLICE_BYTES:
        yield part
        return
    for at in range(0, len(part), _SLICE_BYTES):
        yield part[at : at + _SLICE_BYTES]
