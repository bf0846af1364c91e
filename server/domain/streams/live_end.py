"""Readers at the live end of a thread: they have everything, and wait for the next segment (ADR 0006).

A segment or a heartbeat is made once for all readers of a form and then written to each of them in one loop.
What the loop does for a reader is done a thousand times at each commit, and each object that it touches is
out of the processor's caches by then: it looks at the connection and writes. Where a reader is belongs to all
of them together, and is noted for one when it leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from server.domain.journal.segments import Segment
from server.domain.streams.steps import Heartbeat


class Writer(Protocol):
    """The connection of a reader."""

    def write_now(self, data: bytes) -> bool:
        """Write if nothing that was written before still waits. Returns whether it did; never waits."""
        ...


@dataclass(frozen=True, slots=True)
class LiveForm:
    """How a reader gets segments and heartbeats while it waits. key: equal for readers that get the same
    bytes. make: the bytes to write for a segment; None if they are not one small write. heartbeat: the bytes
    to write for a heartbeat, which may be none; None if they are not the same for all."""

    key: Hashable
    make: Callable[[Segment], bytes | None]
    heartbeat: Callable[[Heartbeat], bytes | None]
    writer: Writer


class LiveReader(Protocol):
    """A reader that waits."""

    def leave_live_end(self, seq: int, heartbeats: int) -> asyncio.Future[None]:
        """Have the next step begin where the live end is, and return what the reader waits for. seq: of the
        last event that was written. heartbeats: how many the topic had when the last one was written."""
        ...


class LiveEnd:
    """The waiting readers of one thread. now: the time, to compare with when rights end. wake: ends the
    waiting of readers, thousands of them not all at once."""

    def __init__(
        self, now: Callable[[], datetime], wake: Callable[[Sequence[asyncio.Future[None]]], None]
    ) -> None:
        self._now, self._wake = now, wake
        #: Seq of the last event that all of them have.
        self._seq = 0
        #: How many heartbeats the topic had when all of them had the last one.
        self._heartbeats = 0
        self._writers: dict[Hashable, dict[LiveReader, Writer]] = {}
        #: Of the reader of each form that came last.
        self._forms: dict[Hashable, LiveForm] = {}
        #: When the first of their rights ends; None if none does.
        self._ends_at: datetime | None = None

    def join(
        self, reader: LiveReader, form: LiveForm, seq: int, heartbeats: int, ends_at: datetime | None
    ) -> bool:
        """Add a reader that has everything up to `seq` and so many heartbeats, until its right ends at
        `ends_at`. Returns False if the others are elsewhere."""
        if not self._writers:
            self._seq, self._heartbeats, self._ends_at = seq, heartbeats, None
        if (seq, heartbeats) != (self._seq, self._heartbeats):
            return False
        self._writers.setdefault(form.key, {})[reader] = form.writer
        self._forms[form.key] = form
        if ends_at is not None and (self._ends_at is None or ends_at < self._ends_at):
            self._ends_at = ends_at
        return True

    def leave(self, reader: LiveReader, form: LiveForm) -> None:
        """Have the reader leave, unless it has left."""
        writers = self._writers.get(form.key)
        if writers is not None and writers.pop(reader, None) is not None:
            if not writers:
                self._remove(form.key)
            reader.leave_live_end(self._seq, self._heartbeats)

    def send(self, segment: Segment) -> None:
        """Write the next segment to all readers. Readers that cannot take it leave. All leave if it does not
        follow what they have, if it ends the thread, or if the right of one of them has ended."""
        if not self._writers:
            return
        if segment.first_seq != self._seq + 1 or segment.terminal or self._has_ended():
            self.wake()
            return
        for key in list(self._writers):
            self._write(key, self._forms[key].make(segment))
        self._seq = segment.last_seq

    def send_heartbeat(self, heartbeat: Heartbeat, heartbeats: int) -> None:
        """Write a heartbeat, the topic's so many, to all readers. Those that cannot take it leave, to be sent
        it by their next step. All leave if the right of one of them has ended."""
        if not self._writers:
            return
        if heartbeat.last_seq != self._seq or self._has_ended():
            self.wake()
            return
        for key in list(self._writers):
            made = self._forms[key].heartbeat(heartbeat)
            if made != b"":
                self._write(key, made)
        self._heartbeats = heartbeats

    def _has_ended(self) -> bool:
        """Whether the right of one of the readers has ended."""
        return self._ends_at is not None and self._now() > self._ends_at

    def _write(self, key: Hashable, made: bytes | None) -> None:
        """Write to all readers of a form. Those that cannot take it leave."""
        writers = self._writers[key]
        behind = [writer for writer in writers.values() if made is None or not writer.write_now(made)]
        if behind:
            self._remove_behind(key, set(map(id, behind)))

    def wake(self) -> None:
        """Have all readers leave."""
        all_writers, self._writers = self._writers, {}
        self._forms.clear()
        self._let_go(reader for writers in all_writers.values() for reader in writers)

    def _remove_behind(self, key: Hashable, behind: set[int]) -> None:
        writers = self._writers[key]
        leaving = [reader for reader, writer in writers.items() if id(writer) in behind]
        for reader in leaving:
            del writers[reader]
        self._let_go(leaving)
        if not writers:
            self._remove(key)

    def _let_go(self, readers: Iterable[LiveReader]) -> None:
        self._wake([reader.leave_live_end(self._seq, self._heartbeats) for reader in readers])

    def _remove(self, key: Hashable) -> None:
        del self._writers[key], self._forms[key]
