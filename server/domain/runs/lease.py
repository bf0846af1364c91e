"""Leases, which give the sole right to drive a run for a limited time, and the store that grants them.

All methods that reach the database raise DatabaseUnavailable while it cannot be reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from server.domain.runs.runtime import Invocation
from server.domain.runs.status import RunStatus


@dataclass(frozen=True, slots=True)
class Lease:
    """The sole right to drive a run for a while. `fence` makes a stale holder's writes fail.

    chosen_thread_id: the runtime's id of the thread, when it chose another than the job's.
    """

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
    chosen_thread_id: str | None = None

    @property
    def runtime_thread_id(self) -> str:
        """The id by which the runtime knows the thread: only for calls of the runtime, and never shown."""
        return self.chosen_thread_id or str(self.thread_id)

    @property
    def fresh(self) -> bool:
        """Whether the journal holds nothing but the event of the run's start."""
        return self.last_seq == 1


class RunStore(Protocol):
    """The stored runs and their leases. Times are the database's own."""

    async def set_status(
        self, lease: Lease, status: RunStatus, *, attempt: int, runtime_thread_id: str | None = None
    ) -> None:
        """Record a state that is not terminal, and renew the lease. Raises LeaseLost.

        runtime_thread_id: the runtime's id of the thread, once it has the job; replaces the one before.
        """
        ...

    async def await_input(self, lease: Lease) -> None:
        """Show the proposal as awaiting a person's input. Raises LeaseLost."""
        ...

    async def renew(self, leases: Sequence[tuple[UUID, int]]) -> Mapping[UUID, bool]:
        """Renew leases, each given as (thread, fence). Returns those still held, each with whether the run
        is to be cancelled."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give the lease up, so that another replica can take the run at once. The fence grows: later
        writes of this replica are refused."""
        ...

    async def claim_expired(self, limit: int) -> Sequence[Lease]:
        """Take over runs whose lease has expired, with a higher fence."""
        ...

    async def request_cancel(self, thread_id: UUID) -> None:
        """Record that the run is to be cancelled; its owner sees it at its next renewal."""
        ...
