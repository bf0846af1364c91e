"""The changes of a thread's files, read from the index without the events between them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

from server.domain.errors import CursorOutOfRange, DatabaseUnavailable
from server.domain.file_history.store import FileIndexStore, IndexedSegment
from server.domain.journal.file_index import IndexedChange, index_entries, read_index
from server.domain.journal.journal import EventCodec
from server.domain.off_loop import REQUESTS
from server.encoding.event_batch import event_ends, split_events

#: Bytes of one read of the index, unless a single segment's are more.
READ_BYTES = 1 << 20


class FileIndex:
    """Reads the index. Entries that are missing, of segments that an earlier release stored, are made, and
    stored for the next reader."""

    def __init__(self, store: FileIndexStore, codec: EventCodec) -> None:
        self._store, self._codec = store, codec

    async def size_bytes(self, thread_id: UUID, up_to: int) -> int:
        """Bytes of the entries of events up to seq `up_to`. Raises DatabaseUnavailable."""
        return await self._store.size_bytes(thread_id, up_to)

    async def each_change(self, thread_id: UUID, up_to: int, take: Callable[[IndexedChange], None]) -> None:
        """Call `take`, off the event loop, with each change of a file up to seq `up_to`, in order.

        Raises CursorOutOfRange when events were removed, DatabaseUnavailable.
        """
        after = 0
        while True:
            segments, floor = await self._store.read(thread_id, after, up_to, max_bytes=READ_BYTES)
            # The floor only grows: what was read before is whole, too.
            if floor > 1:
                raise CursorOutOfRange(after, floor, up_to)
            if not segments:
                return
            segments = await self._with_entries(thread_id, segments)
            entries = b"".join(segment.entries or b"" for segment in segments)
            await REQUESTS.run_unless_small([len(entries)], _take_each, entries, after, up_to, take)
            after = segments[-1].last_seq

    async def _with_entries(
        self, thread_id: UUID, segments: Sequence[IndexedSegment]
    ) -> Sequence[IndexedSegment]:
        """The segments with entries. Those that were missing are also stored, which only saves time."""
        if all(segment.entries is not None for segment in segments):
            return segments
        completed = await REQUESTS.run(lambda: [self._completed(segment) for segment in segments])
        made = [now for now, before in zip(completed, segments, strict=True) if now is not before]
        with contextlib.suppress(DatabaseUnavailable):
            await self._store.add(thread_id, made)
        return completed

    def _completed(self, segment: IndexedSegment) -> IndexedSegment:
        if segment.entries is not None:
            return segment
        events = split_events(segment.batch, event_ends(segment.batch))
        entries = b"".join(index_entries(self._codec.decode(event)) for event in events)
        return replace(segment, entries=entries, batch=b"")


def _take_each(entries: bytes, after: int, up_to: int, take: Callable[[IndexedChange], None]) -> None:
    for change in read_index(entries):
        if after < change.seq <= up_to:
            take(change)
