"""The journal port: the append-only, ordered events of each thread.

All methods that reach the database raise DatabaseUnavailable while it cannot be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from uuid import UUID

from server.domain.journal.events import Event, Outcome
from server.domain.journal.log import JournalLog
from server.domain.journal.segments import Segment
from server.domain.model import Failure
from server.domain.proposals.partition import ProposalFiles
from server.domain.runs.lease import Lease


class JournalIncomplete(Exception):
    """Events that the journal's head counts are not there."""

    def __init__(self, thread_id: UUID, after: int) -> None:
        super().__init__(
            f"the journal of {thread_id} has nothing after seq {after}, and its head says otherwise"
        )


class EventCodec(Protocol):
    """Domain events to and from the contract's bytes."""

    def encode(self, event: Event) -> bytes:
        """The serialised `Event` message."""
        ...

    def decode(self, data: bytes) -> Event:
        """The event of a serialised `Event` message.

        Raises ValueError for other bytes, and for an event of a kind that this version does not know.
        """
        ...


@dataclass(slots=True)
class JournalHead:
    """The state of a thread's journal: its newest seq and epoch, and `floor`, the lowest seq kept."""

    last_seq: int
    epoch: int
    floor: int
    terminal: bool


#: Called with each segment that this process commits, in order of seq, and the journal's head after it.
CommitListener: TypeAlias = Callable[[UUID, Segment, JournalHead], None]


class SegmentTooLarge(Exception):
    """The next segment has more bytes than the reader has room for: `size_bytes`."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self.size_bytes = size_bytes


class JournalReader(Protocol):
    """The committed events of all threads."""

    @property
    def seconds_since_reconnect(self) -> float:
        """How long ago the database was reached again after a connection was lost; infinite if none was. Soon
        after it, journals may end before what readers have (ADR 0028)."""
        ...

    async def heads(self, thread_ids: Sequence[UUID]) -> Mapping[UUID, JournalHead]:
        """The head of each thread's journal, without the threads that have no journal."""
        ...

    async def read_after(
        self, thread_id: UUID, after: int, *, max_bytes: int, max_segment_bytes: int | None = None
    ) -> Sequence[Segment]:
        """Committed segments after the cursor, in order and without a gap: as many as fit in `max_bytes`, at
        least one if there is any.

        Raises SegmentTooLarge if that one has more than `max_segment_bytes`; it is not loaded then.
        """
        ...


class Journal(JournalReader, Protocol):
    """The append-only, ordered events of each thread, with the writer of this process."""

    def subscribe(self, listener: CommitListener) -> None:
        """Call the listener after each commit from now on. It must not wait or fail."""
        ...

    def open(self, lease: Lease) -> JournalLog:
        """The log of a run whose lease the caller holds."""
        ...

    async def finish(
        self,
        log: JournalLog,
        event: bytes,
        delta: bytes,
        *,
        outcome: Outcome,
        files: ProposalFiles,
        failure: Failure | None,
    ) -> None:
        """Flush the log, then commit the terminal event, the files and the status in one transaction.

        Waits for the database as long as necessary. Raises LeaseLost.
        """
        ...
