"""Workflows and their drafts, with Piccolo's queries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from piccolo.columns.combination import Or
from typing_extensions import override

from server.db.contents import FILES_USE_S
from server.db.draft_files import add_draft_files
from server.db.engine import piccolo_connection
from server.db.errors import database_errors
from server.db.lock_queues import LockQueues
from server.db.page_tokens import page_of, page_place
from server.db.tables import Drafts, DraftVersions, Workflows
from server.domain.drafts.changes import first_version
from server.domain.drafts.draft import text_of
from server.domain.fair_budget import Reservation
from server.domain.model import CreateWorkflow, Page, Principal, UpdateWorkflow, Workflow
from server.domain.off_loop import REQUESTS
from server.domain.workflows import WorkflowStore
from server.encoding.json_object import JsonObject

#: The byte of this list in page tokens.
_LIST = b"w"

_GET = """
SELECT w.id, w.name, w.owner_user_id, w.agent_definition, w.current_draft_id, w.created_at, w.locked_at,
  w.archived_at, d.version AS draft_version,
  EXISTS (SELECT FROM draft_version_files f WHERE f.draft_id = d.id) AS has_files
FROM workflows w JOIN drafts d ON d.id = w.current_draft_id WHERE w.id = $2 AND w.owner_user_id = $1
"""
#: The newest row of a path, which has no hash where the file was deleted.
_CONTENT_OF = """
SELECT c.content FROM (
  SELECT sha256 FROM draft_version_files
  WHERE draft_id = $1 AND path = $3 AND version <= $2 ORDER BY version DESC LIMIT 1
) f JOIN contents c ON c.sha256 = f.sha256
"""
#: What is locked or archived already keeps its time.
_UPDATE = """
UPDATE workflows SET
  locked_at = CASE WHEN $3 THEN coalesce(locked_at, $5) WHEN NOT $3 THEN NULL ELSE locked_at END,
  archived_at = CASE WHEN $4 THEN coalesce(archived_at, $5) WHEN NOT $4 THEN NULL ELSE archived_at END
WHERE id = $2 AND owner_user_id = $1
RETURNING id, name, owner_user_id, current_draft_id, created_at, locked_at, archived_at
"""
#: Memory of a workflow in a list, with the longest name.
_LISTED_BYTES = 4 << 10


class PostgresWorkflowStore(WorkflowStore):
    """The workflows. Each belongs to the principal that created it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._locks = LockQueues()

    @override
    async def create(
        self,
        principal: Principal,
        command: CreateWorkflow,
        *,
        workflow_id: UUID,
        draft_id: UUID,
        now: datetime,
    ) -> Workflow:
        async with (
            piccolo_connection(self._pool, limit_s=FILES_USE_S) as connection,
            connection.transaction(),
        ):
            await Workflows.insert(
                Workflows(
                    id=workflow_id,
                    name=command.name,
                    owner_user_id=principal.user_id,
                    agent_definition=json.dumps(command.agent_definition),
                    current_draft_id=draft_id,
                    created_at=now,
                )
            )
            await Drafts.insert(
                Drafts(
                    id=draft_id,
                    workflow_id=workflow_id,
                    created_at=now,
                    updated_at=now,
                    updated_by_user_id=principal.user_id,
                )
            )
            await DraftVersions.insert(
                DraftVersions(
                    draft_id=draft_id, version=1, created_at=now, created_by_user_id=principal.user_id
                )
            )
            await add_draft_files(connection, draft_id, 1, first_version(command.files))
        return Workflow(
            id=workflow_id,
            name=command.name,
            owner_user_id=principal.user_id,
            agent_definition=command.agent_definition,
            current_draft_id=draft_id,
            created_at=now,
            files=command.files,
        )

    @override
    async def get(self, principal: Principal, workflow_id: UUID) -> Workflow | None:
        with database_errors():
            row = await self._pool.fetchrow(_GET, principal.user_id, workflow_id)
        return None if row is None else workflow_of(row)

    @override
    async def text_of(self, workflow: Workflow, path: str) -> str | None:
        draft_id, version = workflow.current_draft_id, workflow.draft_version
        with database_errors():
            content = await self._pool.fetchval(_CONTENT_OF, draft_id, version, path)
        return None if content is None else await REQUESTS.run_unless_small([len(content)], text_of, content)

    @override
    async def update(
        self, principal: Principal, workflow_id: UUID, command: UpdateWorkflow, *, now: datetime
    ) -> Workflow | None:
        # A write of its draft, or a decision about a proposal, keeps it as it is.
        async with self._locks.turn(workflow_id):
            with database_errors():
                row = await self._pool.fetchrow(
                    _UPDATE, principal.user_id, workflow_id, command.locked, command.archived, now
                )
        return None if row is None else workflow_of(row)

    @override
    async def list(
        self,
        principal: Principal,
        *,
        limit: int,
        token: str | None,
        reservation: Reservation | None = None,
    ) -> Page:
        if reservation is not None:
            await reservation.resize((limit + 1) * _LISTED_BYTES)
        columns = Workflows.all_columns(exclude=[Workflows.agent_definition])
        query = Workflows.select(*columns).where(Workflows.owner_user_id == principal.user_id)
        if token is not None:
            last_time, last_id = page_place(_LIST, token)
            # The first condition is an index range, which PostgreSQL does not derive from the second.
            query = query.where(
                Workflows.created_at <= last_time,
                Or(Workflows.created_at < last_time, Workflows.id < last_id),
            )
        async with piccolo_connection(self._pool):
            rows = await query.order_by(Workflows.created_at, Workflows.id, ascending=False).limit(limit + 1)
        return page_of([workflow_of(row) for row in rows], kind=_LIST, limit=limit)


def workflow_of(row: Mapping[str, Any]) -> Workflow:
    """The workflow of a row, without files."""
    return Workflow(
        id=row["id"],
        name=row["name"],
        owner_user_id=row["owner_user_id"],
        agent_definition=JsonObject(row.get("agent_definition", "{}")),
        current_draft_id=row["current_draft_id"],
        created_at=row["created_at"],
        draft_version=row.get("draft_version", 1),
        has_files=row.get("has_files", False),
        locked=row["locked_at"] is not None,
        archived=row["archived_at"] is not None,
    )
