"""Segments: what the journal stores and what followers share.

A segment is a contiguous run of committed events, at least one. Its `batch` is the concatenation of
length-delimited events under field 1, which is byte for byte a serialised `EventBatch`
(`refinement.proto`): what the database holds is what a gRPC client is sent. `delta_batch` holds, one
length-delimited entry per event, what is needed beside the event to give the runtime's frame back
(`server.domain.journal.frame_reconstruction`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

T = TypeVar("T")

#: Protobuf key of field 1 with wire type 2: `EventBatch.events`.
EVENT_KEY = 0x0A


def varint(number: int) -> bytes:
    """A number from 0 up as a protobuf varint."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at `at` and the place behind it. Raises IndexError when the data ends inside it."""
    number = data[at]
    at += 1
    if number < 0x80:
        return number, at
    number &= 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def framed_event(event: bytes) -> bytes:
    """A serialised event as an entry of an `EventBatch`."""
    return b"\x0a" + varint(len(event)) + event


def framed_delta(delta: bytes) -> bytes:
    """A delta as an entry of a segment's deltas."""
    return varint(len(delta)) + delta


class Segment:
    """A contiguous run of committed events, shared by every follower on this replica."""

    def __init__(
        self, first_seq: int, last_seq: int, batch: bytes, delta_batch: bytes, *, terminal: bool = False
    ) -> None:
        self.first_seq = first_seq
        self.last_seq = last_seq
        self.batch = batch
        self.delta_batch = delta_batch
        #: Whether the last event is the thread's terminal event.
        self.terminal = terminal
        self._made: dict[object, Any] = {}
        #: Bytes that it keeps in memory, renderings included.
        self.size_bytes = len(batch) + len(delta_batch)
        #: Told how many bytes a new rendering added, for whoever bounds the memory.
        self.grown: Callable[[int], None] | None = None

    @cached_property
    def _ends(self) -> list[int]:
        """Where each event's entry ends in `batch`."""
        ends: list[int] = []
        at = 0
        data = self.batch
        while at < len(data):
            if data[at] != EVENT_KEY:
                raise ValueError("a segment's batch is not a serialised EventBatch")
            size, at = read_varint(data, at + 1)
            at += size
            ends.append(at)
        return ends

    def events(self) -> Sequence[bytes]:
        """The serialised events, in order of seq."""
        data, found, at = self.batch, [], 0
        for end in self._ends:
            _, start = read_varint(data, at + 1)
            found.append(data[start:end])
            at = end
        return found

    def deltas(self) -> Sequence[bytes]:
        """The delta of each event, in the same order; empty for an event that the hub made."""
        data, found, at = self.delta_batch, [], 0
        while at < len(data):
            size, at = read_varint(data, at)
            found.append(data[at : at + size])
            at += size
        return found

    def after(self, seq: int) -> Segment:
        """The part behind `seq`: the segment itself when all of it is. Requires seq < last_seq."""
        if seq < self.first_seq:
            return self
        cut = self._ends[seq - self.first_seq]
        deltas = self.deltas()[seq - self.first_seq + 1 :]
        return Segment(
            seq + 1,
            self.last_seq,
            self.batch[cut:],
            b"".join(framed_delta(delta) for delta in deltas),
            terminal=self.terminal,
        )

    def up_to(self, seq: int) -> Segment:
        """The part up to and with `seq`: the segment itself when it ends there."""
        if seq >= self.last_seq:
            return self
        count = seq - self.first_seq + 1
        return Segment(
            self.first_seq,
            seq,
            self.batch[: self._ends[count - 1]],
            b"".join(framed_delta(delta) for delta in self.deltas()[:count]),
        )

    def once(self, key: object, make: Callable[[Segment], T]) -> T:
        """`make(self)`, made the first time and shared after: a rendering for one transport."""
        if key not in self._made:
            rendering = make(self)
            self._made[key] = rendering
            # A rendering is bytes, or a list of them: one per event or frame.
            parts = rendering if isinstance(rendering, list) else [rendering]
            size = sum(len(part) for part in parts if isinstance(part, bytes))
            self.size_bytes += size
            if size and self.grown is not None:
                self.grown(size)
        return self._made[key]  # type: ignore[no-any-return]

    def made(self, key: object) -> Any | None:
        """The rendering under `key` if it was made."""
        return self._made.get(key)
