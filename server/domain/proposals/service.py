"""Proposals: what refinements made, for review."""

from __future__ import annotations

from uuid import UUID

from server.domain.errors import NotFound
from server.domain.model import Page, Principal, Proposal, ProposalStatus
from server.domain.proposals.store import ProposalStore


class ProposalService:
    """The use cases around a proposal."""

    def __init__(self, proposals: ProposalStore) -> None:
        self._proposals = proposals

    async def get(self, principal: Principal, proposal_id: UUID) -> Proposal:
        """The proposal with its files. Raises NotFound, also for one of others."""
        proposal = await self._proposals.get(principal, proposal_id)
        if proposal is None:
            raise NotFound("there is no such proposal")
        return proposal

    async def list(
        self,
        principal: Principal,
        *,
        limit: int,
        token: str | None = None,
        workflow_id: UUID | None = None,
        status: ProposalStatus | None = None,
    ) -> Page:
        """The proposals that the principal may see, without files, newest first.

        Raises InvalidArgument for a token that is not from here.
        """
        return await self._proposals.list(
            principal, limit=limit, token=token, workflow_id=workflow_id, status=status
        )
