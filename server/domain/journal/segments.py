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
from functools import cached_property
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.loop_time import LoopTime
from server.domain.off_loop import REQUESTS, SMALL_BYTES
from server.domain.single_flight import single_flight
from server.encoding.event_batch import delta_ends, event_ends, read_varint, split_deltas, split_events

T = TypeVar("T")
#: What Python needs for a bytes object in a list, besides its bytes, and for a segment: most of what a token
#: takes that was committed alone.
_OBJECT_BYTES, SEGMENT_BYTES = 41, 600
#: Events that are rendered in the first go of a turn, and the bytes for which each counts there: their JSON
#: takes up to 0.3 ms. Each further go of the turn takes twice as many.
_GO_EVENTS, _EVENT_BYTES = 8, 128


class Segment:
    """A contiguous run of committed events, shared by all subscriptions of this replica."""

    # Of the class until it is needed: most segments are one token, written to readers and forgotten.
    #: Renderings that are being made off the event loop.
    _making: dict[object, asyncio.Task[Any]] | None = None
    #: The segment that this one is a part of, if any. Not itself: it would be freed late.
    _part_of: Segment | None = None
    _parts: WeakValueDictionary[tuple[int, int], Segment] | None = None
    #: Set by each reader (`server.domain.streams.shared_memory`).
    recently_read: bool = False

    def __init__(
        self,
        first_seq: int,
        last_seq: int,
        batch: bytes,
        delta_batch: bytes,
        *,
        terminal: bool = False,
        on_grow: Callable[[Segment, int], None] | None = None,
        time: LoopTime | None = None,
    ) -> None:
        """terminal: the last event is the thread's terminal event. on_grow: called with the segment and the
        number of bytes that a new rendering adds to it. time: in which its renderings are made."""
        self.first_seq = first_seq
        self.last_seq = last_seq
        self.batch = batch
        self.delta_batch = delta_batch
        self.terminal = terminal
        self._on_grow, self._time = on_grow, time
        self._renderings: dict[object, Any] = {}
        #: Bytes that it keeps in memory, renderings included.
        self.size_bytes = SEGMENT_BYTES + len(batch) + len(delta_batch)

    def observed_by(self, on_grow: Callable[[Segment, int], None], time: LoopTime | None = None) -> Segment:
        """The same events in a segment without renderings, which calls `on_grow` when it grows: this one, if
        nothing was made of it. time: in which its renderings are made."""
        if self._on_grow is None and self._part_of is None and not self._renderings and not self._making:
            self._on_grow, self._time = on_grow, time
            return self
        return Segment(
            self.first_seq,
            self.last_seq,
            self.batch,
            self.delta_batch,
            terminal=self.terminal,
            on_grow=on_grow,
            time=time,
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

    def delta_start(self, seq: int) -> int:
        """The index in `delta_batch` where the entry of an event begins."""
        return self._starts(seq - self.first_seq)[1]

    def bytes_of(self, first: int, last: int) -> int:
        """Bytes of the entries of the events `first` to `last`, and of their deltas."""
        (at, delta_at), index = self._starts(first - self.first_seq), last - self.first_seq
        return self._ends[index] - at + self._delta_ends[index] - delta_at

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
            if isinstance(rendering, bytes):
                self._grow(len(rendering))
            elif isinstance(rendering, list):
                self._grow(sum(len(part) for part in rendering if isinstance(part, bytes)))
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
        if key not in self._renderings:
            time = (self._part_of or self)._time
            if len(self.batch) > SMALL_BYTES:
                made = await self._made(key, render)
                return self.cached(key, lambda _: made)
            if time is not None:
                await time.take(on_behalf_of.get())
        return self.cached(key, render)

    async def prepare_each(self, key: object, render: Callable[[Segment], list[bytes]]) -> None:
        """Have what `cached_each` gives. That of a large segment is made off the event loop, for all parts of
        the segment that this one is a part of; that of a small one in turns of the loop."""
        whole = self._part_of or self
        if len(self.batch) <= SMALL_BYTES:
            if whole._time is not None and whole._is_incomplete(key):
                await whole._make_in_turns(key, render, whole._time, self.first_seq, self.last_seq)
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
        time: LoopTime,
        first_seq: int,
        last_seq: int,
    ) -> None:
        """Make what is missing of the events `first_seq` to `last_seq`, as much in each turn as there is time
        for."""
        index, end = first_seq - self.first_seq, last_seq + 1 - self.first_seq
        while (index := self._missing(key, index, end)) < end:
            await time.take(on_behalf_of.get())
            go = _GO_EVENTS
            # Others may have made some meanwhile.
            while (index := self._missing(key, index, end)) < end:
                fitting = bisect_right(self._ends, self._starts(index)[0] + go * _EVENT_BYTES)
                last = max(min(fitting, index + go, end), index + 1)
                self._part(self.first_seq + index, self.first_seq + last - 1).cached_each(key, render)
                index, go = last, go * 2
                if not time.left:
                    break

    def _missing(self, key: object, index: int, end: int) -> int:
        """The first event from `index` on whose rendering is missing; `end` if none is before that."""
        kept = self._renderings.get(key)
        if kept is None:
            return index
        try:
            return int(kept.index(None, index, end))
        except ValueError:
            return end

    def _is_incomplete(self, key: object) -> bool:
        return key not in self._renderings or None in self._renderings[key]

    async def _made(self, key: object, render: Callable[[Segment], T]) -> T:
        """`render(self)`, made off the event loop, once for all who wait for it."""
        if self._making is None:
            self._making = {}
        return await single_flight(self._making, key, lambda: REQUESTS.run(render, self), name="rendering")

    def _grow(self, size: int) -> None:
        self.size_bytes += size
        if size and self._on_grow is not None:
            self._on_grow(self, size)
