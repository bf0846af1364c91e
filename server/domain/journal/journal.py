"""The journal port: the append-only, ordered events of each thread.

All methods that reach the database raise DatabaseUnavailable while it cannot be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from server.domain.journal.events import Event, Outcome
from server.domain.journal.segments import Segment
from server.domain.model import Failure
from server.domain.proposals.files import File
from server.domain.proposals.paths import RejectedFile
from server.domain.runs.lease import Lease


class EventCodec(Protocol):
    """Domain events to and from the contract's bytes."""

    def encode(self, event: Event) -> bytes:
        """The serialised `Event` message."""
        ...

    def decode(self, data: bytes) -> Event:
        """The event of a serialised `Event` message."""
        ...


@dataclass(frozen=True, slots=True)
class JournalHead:
    """Where a thread's journal stands."""

    last_seq: int
    epoch: int
    floor: int
    terminal: bool


class JournalLog(Protocol):
    """The open journal of a leased run. One owner, one task."""

    @property
    def last_seq(self) -> int:
        """Seq of the last event put, committed or not."""
        ...

    def put(self, event: bytes, delta: bytes, *, epoch: int) -> None:
        """Queue event `last_seq + 1` for the next commit."""
        ...

    async def room(self) -> None:
        """Wait until what is queued is below its bound. Raises LeaseLost."""
        ...

    async def flush(self) -> None:
        """Wait until all that was put is committed. Raises LeaseLost."""
        ...

    async def finish(
        self,
        event: bytes,
        delta: bytes,
        *,
        outcome: Outcome,
        files: Mapping[str, File],
        rejected: Sequence[RejectedFile] = (),
        failure: Failure | None,
    ) -> None:
        """Commit, in one transaction, the terminal event, the proposal's files and its status.
        Raises LeaseLost."""
        ...


class Journal(Protocol):
    """The append-only, ordered events of each thread."""

    def open(self, lease: Lease) -> JournalLog:
        """The log of a run that the caller holds the lease of."""
        ...

    async def heads(self, thread_ids: Sequence[UUID]) -> Mapping[UUID, JournalHead]:
        """Where the journals stand; a thread without one is left out."""
        ...

    async def read_after(self, thread_id: UUID, after: int, *, max_bytes: int) -> Sequence[Segment]:
        """Committed segments behind the cursor, in order, without a gap: as many as fit in
        `max_bytes`, at least one if there is any."""
        ...


#: Told the time of a commit to the journal, and how long the oldest of its events had waited, in seconds.
OnCommitTime = Callable[[float, float], None]

#: Told about each committed segment of a local run, in order.
OnCommit = Callable[[UUID, Segment, JournalHead], None]
