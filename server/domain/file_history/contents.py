"""The contents of files as they were: read from the events that changed them."""

from __future__ import annotations

from uuid import UUID

from server.domain.errors import CursorOutOfRange
from server.domain.fair_budget import Reservation
from server.domain.journal.events import StateUpdate
from server.domain.journal.file_index import IndexedChange
from server.domain.journal.journal import EventCodec, JournalIncomplete, JournalReader, SegmentTooLarge
from server.domain.journal.segments import Segment
from server.domain.off_loop import REQUESTS
from server.domain.streams.shared_memory import SharedMemory

#: A segment of up to so many bytes is read at once, a larger one when there is room for it.
MAX_SMALL_BYTES = 1 << 20
#: How many times its bytes a segment takes while a content is read from it: itself, the message, the files,
#: and the lines of two contents.
_COPIES = 6


class VersionReader:
    """Reads the versions of a thread's files. Newest first: then those of one segment are read together."""

    def __init__(
        self,
        journal: JournalReader,
        codec: EventCodec,
        thread_id: UUID,
        reservation: Reservation | None = None,
        *,
        max_bytes: int | None = None,
    ) -> None:
        """reservation: for what is read, as long as it is used. max_bytes: of a segment, without one."""
        self._journal, self._codec, self._thread_id = journal, codec, thread_id
        self._reservation, self._max_bytes = reservation, max_bytes
        self._segment: Segment | None = None
        #: Bytes and rows of the journal that were read.
        self.read_bytes = self.read_rows = 0

    async def read(self, change: IndexedChange) -> bytes:
        """The content that a change left behind.

        Raises CursorOutOfRange when it was removed, LimitReached without room for it, SegmentTooLarge when
        that is bounded, DatabaseUnavailable.
        """
        segment = self._segment
        if segment is None or not segment.first_seq <= change.seq <= segment.last_seq:
            self._segment = None
            segment = self._segment = await self._segment_with(change.seq)
            self.read_bytes += segment.size_bytes
            self.read_rows += 1
        return await REQUESTS.run(self._content, segment, change)

    async def _segment_with(self, seq: int) -> Segment:
        if self._reservation is None:
            return await self._read_segment(seq, self._max_bytes)
        size_bytes = MAX_SMALL_BYTES
        while True:
            await self._reservation.resize(max(size_bytes * _COPIES, self._reservation.asked_bytes))
            try:
                return await self._read_segment(seq, size_bytes)
            except SegmentTooLarge as large:
                size_bytes = large.size_bytes

    async def _read_segment(self, seq: int, max_bytes: int | None) -> Segment:
        read = await self._journal.read_after(
            self._thread_id, seq - 1, max_bytes=0, max_segment_bytes=max_bytes
        )
        if read and read[0].first_seq <= seq:
            return read[0]
        head = (await self._journal.heads([self._thread_id])).get(self._thread_id)
        if head is not None and seq < head.floor:
            raise CursorOutOfRange(seq, head.floor, head.last_seq)
        raise JournalIncomplete(self._thread_id, seq - 1)

    def _content(self, segment: Segment, change: IndexedChange) -> bytes:
        for _, event, _ in segment.up_to(change.seq).entries_after(change.seq - 1):
            kind = self._codec.decode(event).kind
            for each in kind.files if isinstance(kind, StateUpdate) else ():
                if each.path == change.path and each.file is not None:
                    return each.file.content
        raise JournalIncomplete(self._thread_id, change.seq - 1)


class _Kept:
    """A content that is kept."""

    def __init__(self, key: tuple[UUID, str, int], content: bytes) -> None:
        self.key, self.content = key, content
        self.size_bytes, self.recently_read = len(content), True


class KeptContents:
    """Contents that were read lately, in the memory that readers share: a content is read in pieces, which
    would otherwise each read its event."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory
        self._kept: dict[tuple[UUID, str, int], _Kept] = {}

    def get(self, thread_id: UUID, sha256: str, after_seq: int) -> bytes | None:
        """The content, if it is here, for readers of the events after `after_seq`."""
        kept = self._kept.get((thread_id, sha256, after_seq))
        if kept is None:
            return None
        kept.recently_read = True
        return kept.content

    def add(self, thread_id: UUID, sha256: str, after_seq: int, content: bytes) -> None:
        """Keep a content."""
        key = (thread_id, sha256, after_seq)
        if key not in self._kept:
            self._kept[key] = _Kept(key, content)
            self._memory.add(self._kept[key], self)

    def drop(self, item: _Kept) -> None:
        """Forget a content, which is no longer counted."""
        self._kept.pop(item.key, None)
