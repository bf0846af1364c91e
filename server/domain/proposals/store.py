"""The store of refinements and their proposals.

All methods that reach the database raise DatabaseUnavailable while it cannot be reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from server.domain.drafts.busy import WhenBusy
from server.domain.fair_budget import Reservation
from server.domain.model import (
    IdempotencyKey,
    Page,
    Principal,
    Proposal,
    ProposalStatus,
    Refinement,
    Resolution,
    Revision,
    StartRefinement,
)
from server.domain.runs.lease import Lease
from server.domain.runs.runtime import Invocation

#: Characters of each request that are searched for a text. Requests may have 64 KiB, and a search reads those
#: of all proposals of a caller.
SEARCHED_CHARS = 1000


@dataclass(frozen=True, slots=True)
class EarlierStart:
    """The start that an idempotency key belongs to.

    accepted: the runtime accepted the run, or it was queued. key_reusable: the key may be used for another
    start. queued: it was queued at first.
    """

    request_sha256: bytes
    thread_id: UUID
    proposal_id: UUID
    created_at: datetime
    accepted: bool
    key_reusable: bool
    queued: bool = False


@dataclass(frozen=True, slots=True)
class StoredStart:
    """A start that was stored. lease: on its run; None when it is queued. superseded: the threads of the runs
    that are to be cancelled for it."""

    lease: Lease | None
    superseded: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class ProposalFilter:
    """Which proposals a list has; None for all.

    unresolved: only those that were neither accepted nor rejected. text: must occur, ignoring case, in the
    first SEARCHED_CHARS of the request or in the path of its file.
    """

    workflow_id: UUID | None = None
    status: ProposalStatus | None = None
    resolution: Resolution | None = None
    unresolved: bool = False
    text: str | None = None


ALL = ProposalFilter()


class ProposalStore(Protocol):
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
        base_version: int | None = None,
        key: IdempotencyKey | None = None,
        max_active_runs: int = 0,
        revision: Revision | None = None,
        when_busy: WhenBusy = WhenBusy.PARALLEL,
    ) -> StoredStart | EarlierStart:
        """Store proposal, access, run, event 1 and key in one transaction; this replica gets the run's lease.
        A run that is queued gets its event 1 when it begins.

        base_version: the version of the draft that the run starts from, by default the newest. If the key
        belongs to an earlier start, returns that start and stores nothing. A key is reusable after 24 hours,
        or when the runtime did not accept its run. Raises LimitReached when the principal has
        `max_active_runs` runs that have not ended; 0 for no limit. revision: the proposal that the new one
        revises; who has access to that has the same to the new one. Raises as its `check` if it was decided
        about meanwhile.

        when_busy: what to do while another refinement of the draft has not ended. Raises DraftBusy if it is
        to refuse, PermissionDenied if the principal may not cancel one that it is to supersede.
        """
        ...

    async def find_earlier_start(self, principal: Principal, key: IdempotencyKey) -> EarlierStart | None:
        """The start that the principal's key belongs to, or belonged to; None when it was never used."""
        ...

    async def refinement(self, principal: Principal, thread_id: UUID) -> Refinement | None:
        """The refinement; None when it does not exist or the principal may not see it."""
        ...

    async def get(
        self,
        principal: Principal,
        proposal_id: UUID,
        reservation: Reservation | None = None,
        *,
        files: bool = True,
        contents: bool = True,
    ) -> Proposal:
        """The proposal with its files, with its `listed_files` alone, or with none, read once the reservation
        has room for them.

        Raises NotFound when it does not exist or the principal may not see it.
        """
        ...

    async def list(
        self,
        principal: Principal,
        *,
        limit: int,
        token: str | None = None,
        only: ProposalFilter = ALL,
        reservation: Reservation | None = None,
    ) -> Page:
        """Proposals that the principal may see, without files, newest first: at most `limit`, and fewer when
        these would be more than about 3 MiB.

        Raises InvalidArgument for a token that this list did not issue.
        """
        ...
