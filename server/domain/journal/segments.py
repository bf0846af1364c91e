"""Segments: what the journal stores and what subscriptions share.

A segment is a contiguous run of committed events, at least one. Its `batch` is byte for byte a serialised
`EventBatch` (`server.encoding.event_batch`): gRPC clients are sent the bytes that the database holds.
`delta_batch` has an entry for each event: what is needed besides the event to reconstruct the runtime's frame
(`server.domain.journal.frame_reconstruction`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from server.encoding.event_batch import delimited_delta, event_ends, split_deltas, split_events

T = TypeVar("T")


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
    ) -> None:
        """terminal: the last event is the thread's terminal event. on_grow: called with the segment and the
        number of bytes that a new rendering adds to it."""
        self.first_seq = first_seq
        self.last_seq = last_seq
        self.batch = batch
        self.delta_batch = delta_batch
        self.terminal = terminal
        self._on_grow = on_grow
        self._renderings: dict[object, Any] = {}
        #: Bytes that it keeps in memory, renderings included.
        self.size_bytes = len(batch) + len(delta_batch)

    def observed_by(self, on_grow: Callable[[Segment, int], None]) -> Segment:
        """The same events in a segment without renderings, which calls `on_grow` when it grows."""
        return Segment(
            self.first_seq,
            self.last_seq,
            self.batch,
            self.delta_batch,
            terminal=self.terminal,
            on_grow=on_grow,
        )

    @cached_property
    def _ends(self) -> list[int]:
        """The index in `batch` after each event's entry."""
        return event_ends(self.batch)

    def events(self) -> Sequence[bytes]:
        """The serialised events, in order of seq."""
        return split_events(self.batch, self._ends)

    def deltas(self) -> Sequence[bytes]:
        """The delta of each event, in the same order; empty for an event that the hub made."""
        return split_deltas(self.delta_batch)

    def after(self, seq: int) -> Segment:
        """The part after `seq`: the segment itself if that is all of it. Requires seq < last_seq."""
        if seq < self.first_seq:
            return self
        cut = self._ends[seq - self.first_seq]
        deltas = self.deltas()[seq - self.first_seq + 1 :]
        return Segment(
            seq + 1,
            self.last_seq,
            self.batch[cut:],
            b"".join(delimited_delta(delta) for delta in deltas),
            terminal=self.terminal,
        )

    def up_to(self, seq: int) -> Segment:
        """The part up to and including `seq`: the segment itself if it ends there."""
        if seq >= self.last_seq:
            return self
        count = seq - self.first_seq + 1
        return Segment(
            self.first_seq,
            seq,
            self.batch[: self._ends[count - 1]],
            b"".join(delimited_delta(delta) for delta in self.deltas()[:count]),
        )

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
            size = sum(len(part) for part in parts if isinstance(part, bytes))
            self.size_bytes += size
            if size and self._on_grow is not None:
                self._on_grow(self, size)
        return self._renderings[key]  # type: ignore[no-any-return]

    def get_cached(self, key: object) -> Any | None:
        """The rendering under `key`, if there is one."""
        return self._renderings.get(key)
