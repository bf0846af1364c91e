"""Readers at the live end of a thread: they have everything, and wait for the next segment (ADR 0006).

A segment is made once for all readers of a form and then written to each of them in one loop. What the loop
does for a reader is done a thousand times at each commit, and each object that it touches is out of the
processor's caches by then: it looks at the connection and writes. Where a reader is belongs to all of them
together, and is noted for one when it leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from server.domain.journal.segments import Segment


class Writer(Protocol):
    """The connection of a reader."""

    def write_now(self, data: bytes) -> bool:
        """Write if nothing that was written before still waits. Returns whether it did; never waits."""
        ...


@dataclass(frozen=True, slots=True)
class LiveForm:
    """How a reader gets segments while it waits. key: equal for readers that get the same bytes. make: the
    bytes to write for a segment; None if they are not one small write."""

    key: Hashable
    make: Callable[[Segment], bytes | None]
    writer: Writer


class LiveReader(Protocol):
    """A reader that waits."""

    def leave_live_end(self, seq: int) -> None:
        """Go on with the next step. seq: of the last event that was written."""
        ...


class LiveEnd:
    """The waiting readers of one thread. now: the time, to compare with when rights end."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        #: Seq of the last event that all of them have.
        self._seq = 0
        self._writers: dict[Hashable, dict[LiveReader, Writer]] = {}
        #: Of the reader of each form that came last.
        self._make: dict[Hashable, Callable[[Segment], bytes | None]] = {}
        #: When the first of their rights ends; None if none does.
        self._ends_at: datetime | None = None

    def join(self, reader: LiveReader, form: LiveForm, seq: int, ends_at: datetime | None) -> bool:
        """Add a reader that has everything up to `seq`, until its right ends at `ends_at`. Returns False if
        the others are elsewhere."""
        if not self._writers:
            self._seq, self._ends_at = seq, None
        if seq != self._seq:
            return False
        self._writers.setdefault(form.key, {})[reader] = form.writer
        self._make[form.key] = form.make
        if ends_at is not None and (self._ends_at is None or ends_at < self._ends_at):
            self._ends_at = ends_at
        return True

    def leave(self, reader: LiveReader, form: LiveForm) -> None:
        """Have the reader leave, unless it has left."""
        writers = self._writers.get(form.key)
        if writers is not None and writers.pop(reader, None) is not None:
            if not writers:
                self._remove(form.key)
            reader.leave_live_end(self._seq)

    def send(self, segment: Segment) -> None:
        """Write the next segment to all readers. Readers that cannot take it leave. All leave if it does not
        follow what they have, if it ends the thread, or if the right of one of them has ended."""
        if not self._writers:
            return
        ended = self._ends_at is not None and self._now() > self._ends_at
        if ended or segment.first_seq != self._seq + 1 or segment.terminal:
            self.wake()
            return
        for key in list(self._writers):
            made = self._make[key](segment)
            writers = self._writers[key]
            behind = [writer for writer in writers.values() if made is None or not writer.write_now(made)]
            if behind:
                self._remove_behind(key, set(map(id, behind)))
        self._seq = segment.last_seq

    def wake(self) -> None:
        """Have all readers leave."""
        all_writers, self._writers = self._writers, {}
        self._make.clear()
        for writers in all_writers.values():
            for reader in writers:
                reader.leave_live_end(self._seq)

    def _remove_behind(self, key: Hashable, behind: set[int]) -> None:
        writers = self._writers[key]
        for reader in [reader for reader, writer in writers.items() if id(writer) in behind]:
            del writers[reader]
            reader.leave_live_end(self._seq)
        if not writers:
            self._remove(key)

    def _remove(self, key: Hashable) -> None:
        del self._writers[key], self._make[key]
