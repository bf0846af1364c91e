"""Consecutive events of a run that are committed together: from the log to the writer of the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.domain.quarantine.entries import QuarantineEntry
from server.domain.webhooks.events import OutboxEvent

if TYPE_CHECKING:
    from server.domain.journal.log import JournalLog


#: Bytes for which an entry of the quarantine counts in a commit: the event loop and the database take as
#: long for it.
ENTRY_BYTES = 4 << 10


@dataclass(slots=True)
class Batch:
    """The events `base + 1` to `last` of a log.

    One object from `JournalLog.put` on: each one that an event is unpacked from and made into costs time.
    size_bytes: of what is stored. event_bytes: entries of an `EventBatch`. delta_bytes: entries, too.
    file_changes: entries of the index of changed files (`file_index`); empty when no event changes a file.
    epoch: that of the last event. put_at: when the oldest of them was put, in seconds of the clock's
    `monotonic`. outbox: what is stored in the outbox with them. quarantine: what is noted in the quarantine
    with them.
    """

    log: JournalLog
    base: int
    last: int
    size_bytes: int
    event_bytes: bytes
    delta_bytes: bytes
    file_changes: bytes
    epoch: int
    put_at: float
    outbox: tuple[OutboxEvent, ...] = ()
    quarantine: tuple[QuarantineEntry, ...] = ()

    @property
    def commit_bytes(self) -> int:
        """Bytes for which it counts in a commit."""
        return self.size_bytes + ENTRY_BYTES * len(self.quarantine)

    @property
    def settled(self) -> bool:
        """Whether it was committed, or its log lost the lease."""
        return self.log.lost or self.log.committed >= self.last


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches of which each continues the one before, as one."""
    first, last = batches[0], batches[-1]
    return Batch(
        first.log,
        first.base,
        last.last,
        sum([batch.size_bytes for batch in batches]),
        b"".join([batch.event_bytes for batch in batches]),
        b"".join([batch.delta_bytes for batch in batches]),
        b"".join([batch.file_changes for batch in batches]),
        last.epoch,
        first.put_at,
        tuple(event for batch in batches for event in batch.outbox),
        tuple(entry for batch in batches for entry in batch.quarantine),
    )
