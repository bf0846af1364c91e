"""What the domain needs from outside, by role. Adapters are named by technology and role.

All methods that reach a database raise DatabaseUnavailable when it cannot be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from server.domain.events import Event, Outcome
from server.domain.files import File
from server.domain.lifecycle import RunStatus
from server.domain.model import (
    CreateWorkflow,
    Failure,
    IdempotencyKey,
    Page,
    Principal,
    Proposal,
    ProposalStatus,
    Refinement,
    StartRefinement,
    Workflow,
)
from server.domain.paths import RejectedFile
from server.domain.segments import Segment
from server.domain.upstream import Invocation

# --- Time, ids, contract ---------------------------------------------------------------------


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """Now, UTC-aware."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Ids(Protocol):
    """New identifiers."""

    def new(self) -> UUID:
        """An id that nothing has yet."""
        ...


class EventCodec(Protocol):
    """Domain events to and from the contract's bytes."""

    def encode(self, event: Event) -> bytes:
        """The serialised `Event` message."""
        ...

    def decode(self, data: bytes) -> Event:
        """The event of a serialised `Event` message."""
        ...


# --- Storage ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lease:
    """The sole right to drive a run for a while. `fence` makes a stale holder's writes fail."""

    thread_id: UUID
    fence: int
    status: RunStatus
    attempt: int
    last_seq: int
    epoch: int
    invocation: Invocation
    created_at: datetime
    proposal_id: UUID
    workflow_id: UUID
    takeovers: int = 0


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

    def put(self, event: bytes, residue: bytes, *, epoch: int) -> None:
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
        residue: bytes,
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


class Runs(Protocol):
    """The runs and their leases. Times are the database's own."""

    async def set_status(self, lease: Lease, status: RunStatus, *, attempt: int) -> None:
        """Record a state that is not terminal. Raises LeaseLost."""
        ...

    async def await_input(self, lease: Lease) -> None:
        """Show the proposal as awaiting a person's input. Raises LeaseLost."""
        ...

    async def renew(self, leases: Sequence[tuple[UUID, int]]) -> Mapping[UUID, bool]:
        """Prolong leases given as (thread, fence); those still held, each with whether somebody
        asked to cancel the run."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give the lease up so that another replica can take the run at once. The fence grows: what
        this replica still sends is refused."""
        ...

    async def take_expired(self, limit: int) -> Sequence[Lease]:
        """Take over runs whose lease ran out, with a higher fence."""
        ...

    async def request_cancel(self, thread_id: UUID) -> None:
        """Note that the run is to be cancelled, for its owner to see."""
        ...


@dataclass(frozen=True, slots=True)
class EarlierStart:
    """What an idempotency key stood for. `taken`: the runtime has the run, or had it. `free`: the key
    stands for nothing any more."""

    request_sha256: bytes
    thread_id: UUID
    proposal_id: UUID
    created_at: datetime
    taken: bool
    free: bool


class Proposals(Protocol):
    """Refinements and their proposals. A caller sees only what it may see."""

    async def start(
        self,
        principal: Principal,
        command: StartRefinement,
        *,
        proposal_id: UUID,
        invocation: Invocation,
        draft_id: UUID,
        first_event: bytes,
        now: datetime,
        key: IdempotencyKey | None = None,
        live_most: int = 0,
    ) -> Lease | EarlierStart:
        """Store proposal, access, run, event 1 and key in one transaction; the run's lease is ours.

        When the key stands for something, that, and nothing is stored. A key is free again after 24
        hours, or when the runtime did not take its run. Raises LimitReached when the principal has
        `live_most` runs that are not over, 0 for no limit.
        """
        ...

    async def earlier(self, principal: Principal, key: IdempotencyKey) -> EarlierStart | None:
        """What the principal's key stands for, or stood for; None when it was never used."""
        ...

    async def refinement(self, principal: Principal, thread_id: UUID) -> Refinement | None:
        """The refinement; None when there is none or the principal may not see it."""
        ...

    async def get(self, principal: Principal, proposal_id: UUID) -> Proposal | None:
        """The proposal with its files; None as above."""
        ...

    async def list(
        self,
        principal: Principal,
        *,
        limit: int,
        token: str | None,
        workflow_id: UUID | None,
        status: ProposalStatus | None,
    ) -> Page:
        """Proposals without files, newest first. Raises InvalidArgument for a token not of ours."""
        ...


class Workflows(Protocol):
    """Workflows and their drafts."""

    async def create(
        self,
        principal: Principal,
        command: CreateWorkflow,
        *,
        workflow_id: UUID,
        draft_id: UUID,
        now: datetime,
    ) -> Workflow:
        """Store a workflow with its first draft."""
        ...

    async def get(self, principal: Principal, workflow_id: UUID) -> Workflow | None:
        """The workflow with its files; None when there is none or it is not the principal's."""
        ...

    async def list(self, principal: Principal, *, limit: int, token: str | None) -> Page:
        """Workflows without files, newest first."""
        ...


class Users(Protocol):
    """The people and services that have called."""

    async def seen(self, principal: Principal, now: datetime) -> None:
        """Make sure that the principal has a row. Cheap when it was seen lately.

        Raises PermissionDenied for a disabled user, and for a subject that is another user's.
        """
        ...


# --- Observation -----------------------------------------------------------------------------

#: The ways of following, and the forms of a WebSocket's messages.
TRANSPORTS, FORMS = ("websocket", "sse", "grpc"), ("seed", "json", "proto")


class ReaderObserver(Protocol):
    """Told what happens to readers. Every method is cheap."""

    def opened(self, form: str, thread_id: UUID) -> None:
        """A WebSocket with messages of a form was opened."""
        ...

    def closed(self, form: str, thread_id: UUID) -> None:
        """It is closed."""
        ...

    def stuck(self, transport: str) -> None:
        """A reader took too little for too long."""
        ...


#: Told the time of a commit to the journal, and how long the oldest of its events had waited, in seconds.
OnCommitTime = Callable[[float, float], None]

#: Told about each committed segment of a local run, in order.
OnCommit = Callable[[UUID, Segment, JournalHead], None]


# --- Wake-ups between replicas ---------------------------------------------------------------


class Wakeable(Protocol):
    """Who is woken: the followed threads of this replica. Every method is cheap and never waits."""

    def awaited(self) -> Mapping[UUID, int]:
        """Threads followed here, driven elsewhere and not over, each with the last seq known here."""
        ...

    def hinted(self, thread_id: UUID, last_seq: int) -> None:
        """The thread's journal has come to `last_seq`: read it if that is news and anyone follows."""
        ...

    def received(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """A committed segment came along with the hint: take it if it joins up, else read."""
        ...


class Wakeups(Protocol):
    """Tells other replicas what was committed here, and hears what was committed there.

    A hint may come late, twice, out of order or never: the journal is the truth, and a poll beneath
    finds what no hint told.
    """

    @property
    def healthy(self) -> bool:
        """Whether the last self-test passed: what others tell arrives here."""
        ...

    def committed(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """Tell the others about a committed segment of a local run. O(1); never waits or fails."""
        ...

    def awaiting(self) -> None:
        """`Wakeable.awaited` has a new thread. O(1); never waits or fails."""
        ...

    async def run_forever(self, woken: Wakeable) -> None:
        """Tell and listen, through every absence of whatever carries the hints."""
        ...
