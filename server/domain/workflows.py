"""Workflows: the subject of refinements, and the draft that they start from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol
from uuid import UUID, uuid4

from server.domain.access.quotas import Quotas
from server.domain.clock import Clock
from server.domain.drafts.draft import DraftFile
from server.domain.drafts.store import DraftStore
from server.domain.errors import NotFound
from server.domain.fair_budget import Reservation
from server.domain.model import CreateWorkflow, Page, Principal, UpdateWorkflow, Workflow


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

    async def get(self, principal: Principal, workflow_id: UUID) -> Workflow | None:
        """The workflow without files; None when it does not exist or is not the principal's."""
        ...

    async def text_of(self, workflow: Workflow, path: str) -> str | None:
        """The text of a file of the workflow's draft, at the record's version; None when there is no such
        file, or it is not text."""
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
        """Workflows without files, newest first; read once the reservation has room for them."""
        ...


class WorkflowService:
    """The use cases around a workflow."""

    def __init__(self, *, workflows: WorkflowStore, drafts: DraftStore, quotas: Quotas, clock: Clock) -> None:
        self._workflows, self._drafts = workflows, drafts
        self._quotas, self._clock = quotas, clock

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
    ) -> tuple[Workflow, Mapping[str, DraftFile]]:
        """The workflow, and the files of its draft, read once the reservation has room for them. Raises
        NotFound, also for another user's workflow."""
        workflow = await self._workflows.get(principal, workflow_id)
        if workflow is None:
            raise NotFound("no such workflow")
        draft = await self._drafts.get(
            principal, workflow.current_draft_id, workflow.draft_version, reservation=reservation
        )
        return workflow, draft.files

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
