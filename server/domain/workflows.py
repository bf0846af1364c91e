"""Workflows: the subject of refinements, and the draft that they start from."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from uuid import UUID, uuid4

from server.domain.access.quotas import Quotas
from server.domain.clock import Clock
from server.domain.errors import NotFound
from server.domain.model import CreateWorkflow, Page, Principal, UpdateWorkflow, Workflow
from server.domain.outgoing import Reservation


class WorkflowStore(Protocol):
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

    async def get(
        self, principal: Principal, workflow_id: UUID, reservation: Reservation | None = None
    ) -> Workflow | None:
        """The workflow with its files, read once the reservation has room for it; None when it does not exist
        or is not the principal's."""
        ...

    async def update(
        self, principal: Principal, workflow_id: UUID, command: UpdateWorkflow, *, now: datetime
    ) -> Workflow | None:
        """Lock or archive the workflow, or undo that; returned as in a list. None as with `get`."""
        ...

    async def list(
        self,
        principal: Principal,
        *,
        limit: int,
        token: str | None,
        reservation: Reservation | None = None,
    ) -> Page:
        """Workflows without files, newest first; read as with `get`."""
        ...


class WorkflowService:
    """The use cases around a workflow."""

    def __init__(self, *, workflows: WorkflowStore, quotas: Quotas, clock: Clock) -> None:
        self._workflows, self._quotas, self._clock = workflows, quotas, clock

    async def create(self, principal: Principal, command: CreateWorkflow) -> Workflow:
        """Create a workflow that belongs to the principal, with its first draft. Raises LimitReached."""
        await self._quotas.count_creation(principal.quota_id)
        return await self._workflows.create(
            principal,
            command,
            workflow_id=uuid4(),
            draft_id=uuid4(),
            now=self._clock.now(),
        )

    async def get(
        self, principal: Principal, workflow_id: UUID, reservation: Reservation | None = None
    ) -> Workflow:
        """The workflow with its current files. Raises NotFound, also for another user's workflow."""
        workflow = await self._workflows.get(principal, workflow_id, reservation)
        if workflow is None:
            raise NotFound("no such workflow")
        return workflow

    async def update(self, principal: Principal, workflow_id: UUID, command: UpdateWorkflow) -> Workflow:
        """Lock or archive the workflow, or undo that. Returns it without definition and files. Raises
        NotFound, also for another user's workflow."""
        workflow = await self._workflows.update(principal, workflow_id, command, now=self._clock.now())
        if workflow is None:
            raise NotFound("no such workflow")
        return workflow

    async def list(
        self,
        principal: Principal,
        *,
        limit: int,
        token: str | None = None,
        reservation: Reservation | None = None,
    ) -> Page:
        """The principal's workflows, without files, newest first.

        Raises InvalidArgument for a token that this list did not issue.
        """
        return await self._workflows.list(principal, limit=limit, token=token, reservation=reservation)
