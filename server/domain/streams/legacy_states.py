"""States of the reconstruction of one thread's legacy frames, kept at intervals for readers who come late."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Protocol

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.journal.events import EventKind
from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.journal.journal import EventCodec, SegmentTooLarge
from server.domain.journal.segments import Segment
from server.domain.off_loop import REQUESTS
from server.domain.streams.shared_memory import SharedMemory

#: Bytes of the journal between two states that are kept; for a large state, a quarter of its bytes.
STATE_EVERY_BYTES = 64 << 10
#: Larger files are not kept in a state.
MAX_KEPT_FILE_BYTES = 64 << 10
#: To copy so many bytes takes a few milliseconds, and is done in the loop. A larger state is advanced beside
#: it.
IN_LOOP_BYTES = 1 << 20
#: Events that are applied in one go: up to 1 ms.
_GO_EVENTS = 16


class LegacyReader(Protocol):
    """A reader of legacy frames: what making them needs of it."""

    async def read_when_available(
        self, after: int, *, max_segment_bytes: int | None = None
    ) -> Sequence[Segment]:
        """The thread's segments after a cursor, at least one. Raises SegmentTooLarge, as `History`."""
        ...

    @property
    def reserved_bytes(self) -> int:
        """What the reader has in use."""
        ...

    def reserve_now(self, size_bytes: int) -> bool:
        """Have so many bytes in use. Returns whether there is room."""
        ...

    async def reserve(self, size_bytes: int) -> None:
        """Give back what is in use, and have so many bytes in use once there is room."""
        ...


class State:
    """A state of the reconstruction, after the event `seq`."""

    def __init__(self, reconstructor: FrameReconstructor, since_kept: int) -> None:
        """since_kept: bytes of the journal since the last state that is kept."""
        self.reconstructor, self.since_kept = reconstructor, since_kept
        self.seq, self.size_bytes = reconstructor.seq, reconstructor.size_bytes
        self.recently_read = True

    @staticmethod
    def first() -> State:
        """The state before the first event."""
        return State(FrameReconstructor(MAX_KEPT_FILE_BYTES), 0)

    @property
    def kept(self) -> bool:
        """Whether it stays where it is, for readers who come later."""
        return self.since_kept >= max(STATE_EVERY_BYTES, self.size_bytes // 4)

    def advanced(self, by_bytes: int) -> State:
        """The state of the same reconstructor, which has read so many bytes more."""
        return State(self.reconstructor, self.since_kept + by_bytes)

    def copy(self) -> State:
        """A state to go on from, which does not change this one."""
        return State(self.reconstructor.copy(), 0 if self.kept else self.since_kept)


class LegacyStates:
    """The states of one thread, in order of seq."""

    def __init__(self, codec: EventCodec, memory: SharedMemory) -> None:
        self._codec, self._memory = codec, memory
        self._states: list[State] = []

    def at(self, seq: int) -> State | None:
        """The state at `seq`."""
        at = bisect_left(self._states, seq, key=_seq)
        if at < len(self._states) and self._states[at].seq == seq:
            self._states[at].recently_read = True
            return self._states[at]
        return None if seq else State.first()

    def take(self, state: State) -> State:
        """A state to go on from. One that is not kept is moved, not copied."""
        if state.kept:
            return state.copy()
        if state.seq:
            self._states.remove(state)
            self._memory.remove(state)
        return state

    def add(self, state: State) -> None:
        """Have a state here."""
        at = bisect_left(self._states, state.seq, key=_seq)
        if state.seq and not (at < len(self._states) and self._states[at].seq == state.seq):
            self._states.insert(at, state)
            self._memory.add(state, self)

    async def advance_to(self, seq: int, reader: LegacyReader) -> None:
        """Have a state at `seq`, from the nearest one before it. Raises as the reader does.

        What is large is advanced for one thread at a time: meanwhile it is counted nowhere.
        """
        async with AsyncExitStack() as alone:
            large = False
            state = self._nearest(seq)
            while state.seq < seq:
                read: Sequence[Segment] = ()
                if large or state.size_bytes <= IN_LOOP_BYTES:
                    try:
                        limit = None if large else IN_LOOP_BYTES
                        read = await reader.read_when_available(state.seq, max_segment_bytes=limit)
                    except SegmentTooLarge:
                        pass
                if not read:
                    # Counted while it waits.
                    self.add(state)
                    await alone.enter_async_context(self._memory.large)
                    large, state = True, self._nearest(seq)
                for segment in read:
                    state = await self._applied(state, segment, seq)
            self.add(state)

    def _nearest(self, seq: int) -> State:
        """The state at `seq`, or the nearest one before it, to go on from."""
        at = bisect_right(self._states, seq, key=_seq) - 1
        if at < 0:
            return State.first()
        self._states[at].recently_read = True
        return self._states[at].copy()

    async def _applied(self, state: State, segment: Segment, seq: int) -> State:
        """The state after the segment's events up to `seq`; if it is one to keep, a copy of it."""
        reconstructor = state.reconstructor
        size, last_seq = 0, min(seq, segment.last_seq)
        while reconstructor.seq < last_seq:
            await self._memory.time.take(on_behalf_of.get())
            end = reconstructor.seq
            while True:
                end = min(end + _GO_EVENTS, last_seq)
                size += self._skip(reconstructor, segment, end, IN_LOOP_BYTES)
                if reconstructor.seq < end or end == last_seq or not self._memory.time.left:
                    break
            if reconstructor.seq < end:
                size += await REQUESTS.run(self._skip, reconstructor, segment, seq, None)
        state = state.advanced(size)
        if state.kept and state.seq < seq:
            self.add(state)
            state = state.copy()
        return state

    def _skip(
        self, reconstructor: FrameReconstructor, segment: Segment, seq: int, max_cost: int | None
    ) -> int:
        """Apply the segment's events up to `seq`, or as many as cost at most so much. Returns the bytes that
        were read."""
        size = cost = 0
        for at, event, delta in segment.entries_after(reconstructor.seq):
            cost += reconstructor.cost_of(event, delta)
            if at > seq or (max_cost is not None and cost > max_cost):
                break
            reconstructor.skip(at, delta, kind_of(self._codec, event, delta))
            size += len(event) + len(delta)
        return size

    def drop(self, item: State) -> None:
        """Forget a state, which is no longer counted."""
        self._states.remove(item)

    def clear(self) -> None:
        """Forget everything."""
        for state in self._states:
            self._memory.remove(state)
        self._states = []


def kind_of(codec: EventCodec, event: bytes, delta: bytes) -> EventKind | None:
    """The event's kind, if the reconstruction needs it."""
    return codec.decode(event).kind if FrameReconstructor.needs_event(delta) else None


def _seq(state: State) -> int:
    return state.seq
