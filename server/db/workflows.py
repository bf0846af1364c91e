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
from server.db.draft_files import add_draft_files, read_draft_files
from server.db.engine import piccolo_connection
from server.db.errors import database_errors
from server.db.page_tokens import page_of, page_place
from server.db.tables import Drafts, DraftVersions, Workflows
from server.domain.drafts.changes import first_version
from server.domain.drafts.draft import DraftFile, texts_of
from server.domain.model import CreateWorkflow, Page, Principal, UpdateWorkflow, Workflow
from server.domain.outgoing import Reservation
from server.domain.workflows import WorkflowStore

#: The byte of this list in page tokens.
_LIST = b"w"

_SIZE = """
SELECT octet_length(w.agent_definition::text) + (
  SELECT coalesce(sum(octet_length(c.content)), 0) FROM (
    SELECT DISTINCT ON (path) sha256 FROM draft_version_files f
    WHERE f.draft_id = d.id AND f.version <= d.version ORDER BY path, version DESC
  ) t JOIN contents c ON c.sha256 = t.sha256)::bigint
FROM workflows w JOIN drafts d ON d.id = w.current_draft_id WHERE w.id = $2 AND w.owner_user_id = $1
"""
#: What is locked or archived already keeps its time.
_UPDATE = """
UPDATE workflows SET
  locked_at = CASE WHEN $3 THEN coalesce(locked_at, $5) WHEN NOT $3 THEN NULL ELSE locked_at END,
  archived_at = CASE WHEN $4 THEN coalesce(archived_at, $5) WHEN NOT $4 THEN NULL ELSE archived_at END
WHERE id = $2 AND owner_user_id = $1
RETURNING id, name, owner_user_id, current_draft_id, created_at, locked_at, archived_at
"""
#: How many times its bytes a workflow takes: its definition as values is the largest part.
_COPIES = 6
#: Memory of a workflow in a list, with the longest name.
_LISTED_BYTES = 4 << 10


class PostgresWorkflowStore(WorkflowStore):
    """The workflows. Each belongs to the principal that created it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

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
    async def get(
        self, principal: Principal, workflow_id: UUID, reservation: Reservation | None = None
    ) -> Workflow | None:
        if reservation is not None:
            with database_errors():
                size = await self._pool.fetchval(_SIZE, principal.user_id, workflow_id)
            await reservation.resize((size or 0) * _COPIES)
        async with piccolo_connection(self._pool, limit_s=FILES_USE_S) as connection:
            row = (
                await Workflows.select(
                    *Workflows.all_columns(), Workflows.current_draft_id.version.as_alias("draft_version")
                )
                .where(Workflows.id == workflow_id, Workflows.owner_user_id == principal.user_id)
                .first()
            )
            if row is None:
                return None
            files = await read_draft_files(
                connection, row["current_draft_id"], row["draft_version"], contents=True
            )
        return workflow_of(row, files)

    @override
    async def update(
        self, principal: Principal, workflow_id: UUID, command: UpdateWorkflow, *, now: datetime
    ) -> Workflow | None:
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


def workflow_of(row: Mapping[str, Any], files: Mapping[str, DraftFile] | None = None) -> Workflow:
    """The workflow of a row."""
    return Workflow(
        id=row["id"],
        name=row["name"],
        owner_user_id=row["owner_user_id"],
        agent_definition=json.loads(row.get("agent_definition", "{}")),
        current_draft_id=row["current_draft_id"],
        created_at=row["created_at"],
        # A proposal's file that is not text has no place here: a reader of the draft gets it.
        files=texts_of(files or {}),
        draft_version=row.get("draft_version", 1),
        locked=row["locked_at"] is not None,
        archived=row["archived_at"] is not None,
    )
