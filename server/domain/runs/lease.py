"""Leases, which give the sole right to drive a run for a limited time, and the store that grants them.

All methods that reach the database raise DatabaseUnavailable while it cannot be reached.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from server.domain.runs.replies import Reply
from server.domain.runs.runtime import Invocation
from server.domain.runs.status import RunStatus


@dataclass(frozen=True, slots=True)
class Lease:
    """The sole right to drive a run for a while.

    fence: makes a stale holder's writes fail. age_s: seconds from the run's start to the grant of the lease,
    by the database's clock. takeovers: takeovers since the run last got any further. chosen_thread_id: the
    runtime's id of the thread, when it chose another than the job's. dequeued: the run was queued until now.
    frozen: `locked` or `archived` if its workflow was when its turn came: then it does not begin. cancelled:
    it is to be cancelled. reply: the last reply to one of its questions, unless the runtime has it for sure.
    """

    thread_id: UUID
    fence: int
    status: RunStatus
    attempt: int
    last_seq: int
    epoch: int
    invocation: Invocation
    age_s: float
    proposal_id: UUID
    workflow_id: UUID
    takeovers: int = 0
    chosen_thread_id: str | None = None
    dequeued: bool = False
    frozen: str | None = None
    cancelled: bool = False
    reply: Reply | None = None

    @property
    def runtime_thread_id(self) -> str:
        """The id by which the runtime knows the thread: only for calls of the runtime, and never shown."""
        return self.chosen_thread_id or str(self.thread_id)

    @property
    def fresh(self) -> bool:
        """Whether the journal holds at most the event of the run's start."""
        return self.last_seq <= 1


@dataclass(frozen=True, slots=True)
class Renewed:
    """What the owner of a run learns when it renews the lease. cancelled: the run is to be cancelled.
    replied: a person has replied, and the runtime does not have the reply yet. release_due: an operator wants
    frames of the run released from quarantine."""

    cancelled: bool = False
    replied: bool = False
    release_due: bool = False


class RunStore(Protocol):
    """The stored runs and their leases. Times are the database's own."""

    async def set_status(
        self, lease: Lease, status: RunStatus, *, attempt: int, runtime_thread_id: str | None = None
    ) -> None:
        """Record a state that is not terminal, and renew the lease. Raises LeaseLost.

        runtime_thread_id: the runtime's id of the thread, once it has the job; replaces the one before.
        """
        ...

    async def await_input(self, lease: Lease, seq: int) -> Reply | None:
        """The reply to the question in the event `seq`; without one, show the proposal as awaiting a person's
        input: the run got further. Earlier questions can no longer be answered. Raises LeaseLost."""
        ...

    async def note_resumed(self, lease: Lease) -> None:
        """Record that the runtime has the reply, which is then forgotten. Raises LeaseLost."""
        ...

    async def renew(
        self, leases: Sequence[tuple[UUID, int]], *, advanced: Collection[UUID] = ()
    ) -> Mapping[UUID, Renewed]:
        """Renew leases, each given as (thread, fence), even after their time: nobody else has taken them.

        advanced: the threads of runs that got further, whose takeovers no longer count. Returns the leases
        still held.
        """
        ...

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases up, so that another replica can take the runs at once. The fences grow: later writes of
        this replica are refused."""
        ...

    async def find_expired(self, driven: Collection[UUID]) -> datetime | None:
        """The database's time if there is a run whose lease has expired, besides those driven here, or a
        queued run that may begin."""
        ...

    async def claim_expired(
        self, limit: int, *, found_at: datetime, driven: Collection[UUID] = ()
    ) -> Sequence[Lease]:
        """Take over at most `limit` of the runs that `find_expired` found of each kind, with a higher fence.
        Queued ones whose workflow is locked or archived are to be cancelled.

        found_at: its answer. A claim that the database executes much later takes nothing: the caller has
        given up, and the owners may only have waited for the same database.
        """
        ...

    async def note_base_included(self, lease: Lease) -> None:
        """Record that the run worked on the files of its draft. Raises LeaseLost."""
        ...

    async def request_cancel(self, thread_id: UUID) -> None:
        """Record that the run is to be cancelled. Its owner sees it at its next renewal; a queued run,
        which has no owner, may be taken over and ended at once."""
        ...
