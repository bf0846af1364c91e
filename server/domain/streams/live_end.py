"""Readers at the live end of a thread: they have everything, and wait for the next segment (ADR 0006).

A segment or a heartbeat is made once for all readers of a form and then written to all of them at once.
What is done for a reader is done a thousand times at each commit, and each object that it touches is out of
the processor's caches by then. Where a reader is belongs to all of them together, and is noted for one when
it leaves; what is written to is a group of connections (ADR 0080).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from server.domain.journal.segments import Segment
from server.domain.streams.steps import Heartbeat

#: When a right ends that does not.
_NEVER = datetime.max.replace(tzinfo=UTC)
#: A reader's connection.
W = TypeVar("W")


class Group(Protocol[W]):
    """The connections of readers that get the same bytes."""

    def add(self, writer: W) -> None:
        """Have a connection get what is written from now on."""
        ...

    def remove(self, writer: W) -> None:
        """Have it get nothing more. Does nothing if it is not in the group."""
        ...

    def write(self, data: bytes) -> Sequence[W]:
        """Write to all; never waits. Those that cannot take it now are returned, and not in the group any
        more."""
        ...


@dataclass(frozen=True, slots=True)
class LiveForm(Generic[W]):
    """How a reader gets segments and heartbeats while it waits. key: equal for readers that get the same
    bytes. make: the bytes to write for a segment; None if they are not one small write. heartbeat: the bytes
    to write for a heartbeat, which may be none; None if they are not the same for all. new_group: makes the
    group that the form's connections are in."""

    key: Hashable
    make: Callable[[Segment], bytes | None]
    heartbeat: Callable[[Heartbeat], bytes | None]
    writer: W
    new_group: Callable[[], Group[W]]


class LiveReader(Protocol):
    """A reader that waits."""

    def leave_live_end(self, seq: int, heartbeats: int) -> asyncio.Future[None]:
        """Have the next step begin where the live end is, and return what the reader waits for. seq: of the
        last event that was written. heartbeats: how many the topic had when the last one was written."""
        ...


class _Readers:
    """The readers of one form. form: that of the reader that came last."""

    __slots__ = ("form", "group", "writers")

    def __init__(self, form: LiveForm[Any]) -> None:
        self.form = form
        self.writers: dict[LiveReader, Any] = {}
        self.group: Group[Any] = form.new_group()


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
        self._readers: dict[Hashable, _Readers] = {}
        #: The same without their keys, anew when a form comes or goes: those who leave do so while they are
        #: written to.
        self._forms: tuple[_Readers, ...] = ()
        #: When the first of their rights ends.
        self._ends_at = _NEVER

    def join(
        self, reader: LiveReader, form: LiveForm[Any], seq: int, heartbeats: int, ends_at: datetime | None
    ) -> bool:
        """Add a reader that has everything up to `seq` and so many heartbeats, until its right ends at
        `ends_at`. Returns False if the others are elsewhere."""
        if not self._readers:
            self._seq, self._heartbeats, self._ends_at = seq, heartbeats, _NEVER
        if (seq, heartbeats) != (self._seq, self._heartbeats):
            return False
        readers = self._readers.get(form.key)
        if readers is None:
            readers = self._readers[form.key] = _Readers(form)
            self._forms = (*self._forms, readers)
        readers.form = form
        readers.writers[reader] = form.writer
        readers.group.add(form.writer)
        if ends_at is not None and ends_at < self._ends_at:
            self._ends_at = ends_at
        return True

    def leave(self, reader: LiveReader, form: LiveForm[Any]) -> None:
        """Have the reader leave, unless it has left."""
        readers = self._readers.get(form.key)
        if readers is not None and reader in readers.writers:
            self._remove(readers, [reader])
            reader.leave_live_end(self._seq, self._heartbeats)

    def send(self, segment: Segment) -> None:
        """Write the next segment to all readers. Readers that cannot take it leave. All leave if it does not
        follow what they have, if it ends the thread, or if the right of one of them has ended."""
        if not self._forms:
            return
        if segment.first_seq != self._seq + 1 or segment.terminal or self._now() > self._ends_at:
            self.wake()
            return
        for readers in self._forms:
            self._write(readers, readers.form.make(segment))
        self._seq = segment.last_seq

    def send_heartbeat(self, heartbeat: Heartbeat, heartbeats: int) -> None:
        """Write a heartbeat, the topic's so many, to all readers. Those that cannot take it leave, to be sent
        it by their next step. All leave if the right of one of them has ended."""
        if not self._readers:
            return
        if heartbeat.last_seq != self._seq or self._now() > self._ends_at:
            self.wake()
            return
        for readers in self._forms:
            made = readers.form.heartbeat(heartbeat)
            if made != b"":
                self._write(readers, made)
        self._heartbeats = heartbeats

    def _write(self, readers: _Readers, made: bytes | None) -> None:
        """Write to all readers of a form. Those that cannot take it leave."""
        if made is None:
            self._let_go(readers, list(readers.writers))
        elif late := readers.group.write(made):
            ids = set(map(id, late))
            self._let_go(readers, [each for each, writer in readers.writers.items() if id(writer) in ids])

    def wake(self) -> None:
        """Have all readers leave."""
        for readers in self._forms:
            self._let_go(readers, list(readers.writers))

    def _let_go(self, readers: _Readers, leaving: Sequence[LiveReader]) -> None:
        """Have readers of a form leave, and wake them."""
        self._remove(readers, leaving)
        self._wake([reader.leave_live_end(self._seq, self._heartbeats) for reader in leaving])

    def _remove(self, readers: _Readers, leaving: Iterable[LiveReader]) -> None:
        for reader in leaving:
            readers.group.remove(readers.writers.pop(reader))
        if not readers.writers:
            del self._readers[readers.form.key]
            self._forms = tuple(self._readers.values())
