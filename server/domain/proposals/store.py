"""The store of refinements and their proposals.

All methods that reach the database raise DatabaseUnavailable while it cannot be reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from server.domain.model import (
    IdempotencyKey,
    Page,
    Principal,
    Proposal,
    ProposalStatus,
    Refinement,
    StartRefinement,
)
from server.domain.runs.lease import Lease
from server.domain.runs.runtime import Invocation


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
        key: IdempotencyKey | None = None,
        max_active_runs: int = 0,
    ) -> Lease | EarlierStart:
        """Store proposal, access, run, event 1 and key in one transaction; the run's lease is ours.

        When the key stands for something, that, and nothing is stored. A key is free again after 24
        hours, or when the runtime did not take its run. Raises LimitReached when the principal has
        `max_active_runs` runs that are not over, 0 for no limit.
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
