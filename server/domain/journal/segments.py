"""Segments: what the journal stores and what subscriptions share.

A segment is a contiguous run of committed events, at least one. Its `batch` is byte for byte a serialised
`EventBatch` (`server.encoding.event_batch`): gRPC clients are sent the bytes that the database holds.
`delta_batch` has an entry for each event: what is needed besides the event to reconstruct the runtime's frame
(`server.domain.journal.frame_reconstruction`).
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.loop_turns import LoopTurns
from server.domain.off_loop import REQUESTS, SMALL_BYTES
from server.domain.single_flight import single_flight
from server.encoding.event_batch import delta_ends, event_ends, read_varint, split_deltas, split_events

T = TypeVar("T")
#: What Python needs for a bytes object in a list, besides its bytes, and for a segment: most of what a token
#: takes that was committed alone.
_OBJECT_BYTES, SEGMENT_BYTES = 41, 600
#: Renderings of so many bytes, and of so many events, are made in one go: up to 3 ms. However small an event
#: is, its JSON takes 10 to 40 µs: it counts for at least so many bytes, and for fewer where it is only joined
#: with others.
_GO_BYTES, _GO_EVENTS, _EVENT_BYTES, _JOINED_EVENT_BYTES = 8 << 10, 64, 128, 16


class Segment:
    """A contiguous run of committed events, shared by all subscriptions of this replica."""

    def __init__(
        self,
        first_seq: int,
        last_seq: int,
        batch: bytes,
        delta_batch: bytes,
        *,
        terminal: bool = False,
        on_grow: Callable[[Segment, int], None] | None = None,
        turns: LoopTurns | None = None,
    ) -> None:
        """terminal: the last event is the thread's terminal event. on_grow: called with the segment and the
        number of bytes that a new rendering adds to it. turns: in which its renderings are made."""
        self.first_seq = first_seq
        self.last_seq = last_seq
        self.batch = batch
        self.delta_batch = delta_batch
        self.terminal = terminal
        self._on_grow, self._turns = on_grow, turns
        self._renderings: dict[object, Any] = {}
        #: Renderings that are being made off the event loop, and parts of some in turns of it.
        self._making: dict[object, asyncio.Task[Any]] = {}
        #: The segment that this one is a part of, if any. Not itself: it would be freed late.
        self._part_of: Segment | None = None
        self._parts: WeakValueDictionary[tuple[int, int], Segment] | None = None
        #: Bytes that it keeps in memory, renderings included.
        self.size_bytes = SEGMENT_BYTES + len(batch) + len(delta_batch)
        #: Set by each reader (`server.domain.streams.shared_memory`).
        self.recently_read = False

    def observed_by(self, on_grow: Callable[[Segment, int], None], turns: LoopTurns | None = None) -> Segment:
        """The same events in a segment without renderings, which calls `on_grow` when it grows. turns: in
        which its renderings are made."""
        return Segment(
            self.first_seq,
            self.last_seq,
            self.batch,
            self.delta_batch,
            terminal=self.terminal,
            on_grow=on_grow,
            turns=turns,
        )

    @cached_property
    def _ends(self) -> array[int]:
        """The index in `batch` after each event's entry."""
        return array("Q", event_ends(self.batch))

    @cached_property
    def _delta_ends(self) -> array[int]:
        """The index in `delta_batch` after each entry."""
        return array("Q", delta_ends(self.delta_batch))

    def events(self) -> Sequence[bytes]:
        """The serialised events, in order of seq."""
        return split_events(self.batch, self._ends)

    def deltas(self) -> Sequence[bytes]:
        """The delta of each event, in the same order; empty for an event that the hub made."""
        return split_deltas(self.delta_batch)

    def entries_after(self, seq: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Seq, serialised event and delta of each event after `seq`, split as they are asked for."""
        for index in range(max(seq + 1 - self.first_seq, 0), self.last_seq + 1 - self.first_seq):
            at, delta_at = self._starts(index)
            _, at = read_varint(self.batch, at + 1)
            _, delta_at = read_varint(self.delta_batch, delta_at)
            event, delta = (
                self.batch[at : self._ends[index]],
                self.delta_batch[delta_at : self._delta_ends[index]],
            )
            yield self.first_seq + index, event, delta

    def _starts(self, index: int) -> tuple[int, int]:
        """Where the entries of an event begin in `batch` and in `delta_batch`."""
        return (self._ends[index - 1], self._delta_ends[index - 1]) if index else (0, 0)

    def after(self, seq: int) -> Segment:
        """The part after `seq`: the segment itself if that is all of it. Requires seq < last_seq."""
        return self._part(max(seq + 1, self.first_seq), self.last_seq)

    def up_to(self, seq: int) -> Segment:
        """The part up to and including `seq`: the segment itself if it ends there."""
        return self._part(self.first_seq, min(seq, self.last_seq))

    def split(self, max_bytes: int) -> Iterator[Segment]:
        """Parts that have at most `max_bytes` of events, or one event: the segment itself if it fits."""
        if len(self.batch) <= max_bytes:
            yield self
            return
        first = self.first_seq
        while first <= self.last_seq:
            start = self._starts(first - self.first_seq)[0]
            last = max(self.first_seq + bisect_right(self._ends, start + max_bytes) - 1, first)
            yield self._part(first, last)
            first = last + 1

    def _part(self, first: int, last: int) -> Segment:
        """The events `first` to `last`. Those who need the same part at the same time share it."""
        if (first, last) == (self.first_seq, self.last_seq):
            return self
        whole = self._part_of or self
        if whole._parts is None:
            whole._parts = WeakValueDictionary()
        part = whole._parts.get((first, last))
        if part is None:
            start, delta_start = self._starts(first - self.first_seq)
            end, delta_end = self._starts(last + 1 - self.first_seq)
            batch, deltas = self.batch[start:end], self.delta_batch[delta_start:delta_end]
            part = Segment(first, last, batch, deltas, terminal=self.terminal and last == self.last_seq)
            part._part_of = whole
            whole._parts[first, last] = part
        return part

    def within(self, max_bytes: int) -> Segment:
        """The first events that have at most `max_bytes` together, at least one."""
        count = max(bisect_right(self._ends, max_bytes), 1)
        return self.up_to(self.first_seq + count - 1)

    def cached(self, key: object, render: Callable[[Segment], T]) -> T:
        """`render(self)`, computed once and then shared: bytes, or a list of them, for one transport."""
        if key not in self._renderings:
            rendering = render(self)
            self._renderings[key] = rendering
            parts = rendering if isinstance(rendering, list) else [rendering]
            self._grow(sum(len(part) for part in parts if isinstance(part, bytes)))
        return self._renderings[key]  # type: ignore[no-any-return]

    def made(self, key: object) -> Any:
        """What `cached` or `prepared` has made for this key; None if it has not."""
        return self._renderings.get(key)

    def cached_each(self, key: object, render: Callable[[Segment], list[bytes]]) -> list[bytes]:
        """`render(self)`, which has an entry for each event, computed once and then shared, also with other
        parts of the same segment."""
        whole = self._part_of or self
        kept: list[bytes | None] | None = whole._renderings.get(key)
        if kept is None:
            if whole is self:
                made = self._renderings[key] = render(self)
                self._grow(sum(map(len, made)) + _OBJECT_BYTES * len(made))
                return made
            kept = whole._renderings[key] = [None] * (whole.last_seq - whole.first_seq + 1)
        start, end = self.first_seq - whole.first_seq, self.last_seq + 1 - whole.first_seq
        missing = [at for at in range(start, end) if kept[at] is None]
        if missing:
            made = render(self._part(whole.first_seq + missing[0], whole.first_seq + missing[-1]))
            for at in missing:
                kept[at] = made[at - missing[0]]
            whole._grow(sum(len(made[at - missing[0]]) + _OBJECT_BYTES for at in missing))
        return kept[start:end]  # type: ignore[return-value]

    async def prepared(self, key: object, render: Callable[[Segment], T]) -> T:
        """As `cached`, but that of a large segment is made off the event loop, and that of a small one in a
        turn of it."""
        turns = (self._part_of or self)._turns
        if key in self._renderings:
            return self.cached(key, render)
        if len(self.batch) > SMALL_BYTES:
            made = await self._made(key, render)
            return self.cached(key, lambda _: made)
        size_bytes = _JOINED_EVENT_BYTES * (self.last_seq + 1 - self.first_seq)
        if turns is None or turns.take_now(size_bytes):
            return self.cached(key, render)

        async def make() -> T:
            await turns.take(on_behalf_of.get(), size_bytes)
            return self.cached(key, render)

        return await single_flight(self._making, key, make, name="rendering")

    async def prepare_each(self, key: object, render: Callable[[Segment], list[bytes]]) -> None:
        """Have what `cached_each` gives. That of a large segment is made off the event loop, for all parts of
        the segment that this one is a part of; that of a small one in turns of the loop."""
        whole = self._part_of or self
        if len(self.batch) <= SMALL_BYTES:
            if whole._turns is not None and whole._is_incomplete(key):
                await whole._make_in_turns(key, render, whole._turns, self.first_seq, self.last_seq)
        elif whole._is_incomplete(key):
            made = await whole._made(key, render)
            # Parts may have been made meanwhile.
            if whole._is_incomplete(key):
                kept = whole._renderings.get(key) or [None] * len(made)
                whole._renderings[key] = made
                whole._grow(
                    sum(len(new) + _OBJECT_BYTES for new, old in zip(made, kept, strict=True) if old is None)
                )

    async def _make_in_turns(
        self,
        key: object,
        render: Callable[[Segment], list[bytes]],
        turns: LoopTurns,
        first_seq: int,
        last_seq: int,
    ) -> None:
        """Make what is missing of the events `first_seq` to `last_seq`, a few in one go, for all who wait for
        them."""

        async def make(part: Segment, size_bytes: int) -> None:
            await turns.take(on_behalf_of.get(), size_bytes)
            part.cached_each(key, render)

        index, last = self._go_with(first_seq - self.first_seq), last_seq - self.first_seq
        while index <= last:
            end = self._end_of_go(index)
            kept = self._renderings.get(key)
            if kept is None or None in kept[index:end]:
                part = self._part(self.first_seq + index, self.first_seq + end - 1)
                size_bytes = max(len(part.batch), _EVENT_BYTES * (end - index))
                if turns.take_now(size_bytes):
                    part.cached_each(key, render)
                else:
                    work = partial(make, part, size_bytes)
                    await single_flight(self._making, (key, index), work, name="rendering")
            index = end

    def _go_with(self, index: int) -> int:
        """The first event that is made in one go with an event: the same for all readers."""
        start = 0
        while (end := self._end_of_go(start)) <= index:
            start = end
        return start

    def _end_of_go(self, index: int) -> int:
        """The end of what is made in one go from an event on, at least that one."""
        fitting = bisect_right(self._ends, self._starts(index)[0] + _GO_BYTES)
        return max(min(fitting, index + _GO_EVENTS), index + 1)

    def _is_incomplete(self, key: object) -> bool:
        return key not in self._renderings or None in self._renderings[key]

    async def _made(self, key: object, render: Callable[[Segment], T]) -> T:
        """`render(self)`, made off the event loop, once for all who wait for it."""
        return await single_flight(self._making, key, lambda: REQUESTS.run(render, self), name="rendering")

    def _grow(self, size: int) -> None:
        self.size_bytes += size
        if size and self._on_grow is not None:
            self._on_grow(self, size)
