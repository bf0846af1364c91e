"""The port to the index of changed files (`server.domain.journal.file_index`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class IndexedSegment:
    """A stored segment that changes files: its entries. Or one that has no entries yet: then they are None,
    and its events are in `batch`."""

    first_seq: int
    last_seq: int
    entries: bytes | None
    batch: bytes


class FileIndexStore(Protocol):
    """The entries of all threads' segments. Raises DatabaseUnavailable."""

    async def read(
        self, thread_id: UUID, after: int, up_to: int, *, max_bytes: int
    ) -> tuple[Sequence[IndexedSegment], int]:
        """The segments that change files, or may, with events after `after` and up to `up_to`, in order: as
        many as fit in `max_bytes`, at least one if there is any. And the journal's floor as it is then.

        The first one may begin before, the last one end later.
        """
        ...

    async def size_bytes(self, thread_id: UUID, up_to: int) -> int:
        """Bytes of the entries that there are of segments with events up to `up_to`."""
        ...

    async def add(self, thread_id: UUID, segments: Sequence[IndexedSegment]) -> None:
        """Store the entries of segments that had none, of those that are still stored as they were."""
        ...
