"""Legacy frames of one thread: reconstructed once, and shared by all who read them.

1. The runtime's state frames repeat everything, so the frames of a segment may be far larger than the
   segment: they are made in pieces, when the first reader needs one.
2. To reconstruct the frames after a cursor, all earlier events must be applied. States of the reconstruction
   are kept at intervals, so that only the first reader who comes late does so from the first event on.
3. A reader keeps a cursor and nothing else. What is dropped from the shared memory is made again.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeAlias

from server.domain.journal.events import EventKind
from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.journal.journal import EventCodec
from server.domain.journal.segments import Segment
from server.domain.streams.shared_memory import SharedMemory

#: Bytes from which on a piece is not extended. A larger frame is a piece of its own.
PIECE_BYTES = 64 << 10
#: Bytes of the journal between two states that are kept; for a large state, a quarter of its bytes.
STATE_EVERY_BYTES = 64 << 10

#: Frames a legacy frame as the transport needs it.
Framing: TypeAlias = Callable[[bytes], bytes]
#: Reads the thread's segments after a cursor, as `Subscription.read_when_available`.
Read: TypeAlias = Callable[[int], Awaitable[Sequence[Segment]]]


class LegacyPiece:
    """The framed legacy frames of consecutive events."""

    def __init__(self, first_seq: int, data: bytes, ends: array[int]) -> None:
        """ends: the index in `data` after the frames of each event."""
        self.first_seq, self.last_seq = first_seq, first_seq + len(ends) - 1
        self._data, self._ends = data, ends
        self.size_bytes = len(data) + 8 * len(ends)
        self.recently_read = True

    def part(self, first: int, last: int) -> bytes:
        """The frames of events `first` to `last`: the same object for all who need the whole."""
        start = self._ends[first - self.first_seq - 1] if first > self.first_seq else 0
        return self._data[start : self._ends[min(last, self.last_seq) - self.first_seq]]


class _State:
    """A state of the reconstruction, after the event `seq`."""

    def __init__(self, reconstructor: FrameReconstructor, since_kept: int) -> None:
        """since_kept: bytes of the journal since the last state that is kept."""
        self.reconstructor, self.since_kept = reconstructor, since_kept
        self.seq, self.size_bytes = reconstructor.seq, reconstructor.size_bytes
        self.recently_read = True

    @property
    def kept(self) -> bool:
        """Whether it stays where it is, for readers who come later."""
        return self.since_kept >= max(STATE_EVERY_BYTES, self.size_bytes // 4)

    def advanced(self, by_bytes: int) -> _State:
        """The state of the same reconstructor, which has read so many bytes more."""
        return _State(self.reconstructor, self.since_kept + by_bytes)

    def copy(self) -> _State:
        """A state to go on from, which does not change this one."""
        return _State(self.reconstructor.copy(), 0 if self.kept else self.since_kept)


class LegacyFrames:
    """The pieces and states of one thread, in order of seq."""

    def __init__(self, codec: EventCodec, memory: SharedMemory) -> None:
        self._codec, self._memory = codec, memory
        self._pieces: list[LegacyPiece] = []
        self._states: list[_State] = []
        #: Only one reader at a time advances a state: the next one may need the same state.
        self._advancing = asyncio.Lock()

    async def pieces(
        self, segment: Segment, framing: Framing, read: Read
    ) -> AsyncIterator[tuple[bytes, int]]:
        """The framed legacy frames of the segment's events, in pieces, each with the seq of its last event.
        May read the journal; raises as `read` does."""
        seq = segment.first_seq
        while seq <= segment.last_seq:
            piece = self._piece_with(seq) or self._make(segment, seq, framing)
            if piece is None:
                await self._advance_to(seq - 1, read)
                continue
            last = min(piece.last_seq, segment.last_seq)
            yield piece.part(seq, last), last
            seq = last + 1

    def _piece_with(self, seq: int) -> LegacyPiece | None:
        at = bisect_right(self._pieces, seq, key=_first_seq) - 1
        if at < 0 or self._pieces[at].last_seq < seq:
            return None
        self._pieces[at].recently_read = True
        return self._pieces[at]

    def _make(self, segment: Segment, seq: int, framing: Framing) -> LegacyPiece | None:
        """The piece that begins with the event `seq` of the segment, made and kept; None without the state
        before that event."""
        state = self._take(seq - 1)
        if state is None:
            return None
        before = bisect_right(self._pieces, seq, key=_first_seq)
        last = self._pieces[before].first_seq - 1 if before < len(self._pieces) else segment.last_seq
        made: list[LegacyPiece] = []
        frames: list[bytes] = []
        ends = array("Q")
        read_bytes = 0
        for at, event, delta in segment.entries_after(seq - 1):
            frames_of_event = state.reconstructor.frames_for(at, delta, self._kind(event, delta))
            of_event = b"".join(map(framing, frames_of_event))
            read_bytes += len(event) + len(delta)
            if frames and len(of_event) >= PIECE_BYTES:
                made.append(LegacyPiece(at - len(ends), b"".join(frames), ends))
                frames, ends = [], array("Q")
            frames.append(of_event)
            ends.append(len(of_event) + (ends[-1] if ends else 0))
            if ends[-1] >= PIECE_BYTES or at >= last:
                break
        made.append(LegacyPiece(state.reconstructor.seq + 1 - len(ends), b"".join(frames), ends))
        for piece in made:
            insort(self._pieces, piece, key=_first_seq)
            self._memory.add(piece, self)
        self._add_state(state.advanced(read_bytes))
        return made[0]

    async def _advance_to(self, seq: int, read: Read) -> None:
        """Have a state at `seq`, from the nearest one before it."""
        async with self._advancing:
            # The reader before may have been there.
            if self._piece_with(seq + 1) is not None:
                return
            state = self._nearest(seq)
            while state.seq < seq:
                size = 0
                for segment in await read(state.seq):
                    for at_seq, event, delta in segment.entries_after(state.reconstructor.seq):
                        if at_seq > seq:
                            break
                        state.reconstructor.skip(at_seq, delta, self._kind(event, delta))
                        size += len(event) + len(delta)
                state = state.advanced(size)
                if state.kept and state.seq < seq:
                    self._add_state(state)
                    state = state.copy()
            self._add_state(state)

    def _kind(self, event: bytes, delta: bytes) -> EventKind | None:
        return self._codec.decode(event).kind if FrameReconstructor.needs_event(delta) else None

    def _nearest(self, seq: int) -> _State:
        """The state at `seq`, or the nearest one before it, to go on from."""
        at = bisect_right(self._states, seq, key=_seq) - 1
        if at < 0:
            return _State(FrameReconstructor(), 0)
        self._states[at].recently_read = True
        return self._states[at].copy()

    def _take(self, seq: int) -> _State | None:
        """The state at `seq`, to go on from. One that is not kept is moved, not copied."""
        at = bisect_left(self._states, seq, key=_seq)
        state = self._states[at] if at < len(self._states) else None
        if state is None or state.seq != seq:
            return None if seq else _State(FrameReconstructor(), 0)
        if state.kept:
            state.recently_read = True
            return state.copy()
        del self._states[at]
        self._memory.remove(state)
        return state

    def _add_state(self, state: _State) -> None:
        at = bisect_left(self._states, state.seq, key=_seq)
        if at < len(self._states) and self._states[at].seq == state.seq:
            return
        self._states.insert(at, state)
        self._memory.add(state, self)

    def drop(self, item: LegacyPiece | _State) -> None:
        """Forget a piece or a state, which is no longer counted."""
        if isinstance(item, LegacyPiece):
            self._pieces.remove(item)
        else:
            self._states.remove(item)

    def clear(self) -> None:
        """Forget everything."""
        for piece in self._pieces:
            self._memory.remove(piece)
        for state in self._states:
            self._memory.remove(state)
        self._pieces, self._states = [], []


def _first_seq(piece: LegacyPiece) -> int:
    return piece.first_seq


def _seq(state: _State) -> int:
    return state.seq
