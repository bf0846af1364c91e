"""Workflows and their drafts, with Piccolo's queries."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from piccolo.columns.combination import Or
from typing_extensions import override

from server.db.engine import piccolo_connection
from server.db.errors import database_errors
from server.db.page_tokens import page_of, page_place
from server.db.tables import DraftFiles, Drafts, DraftVersions, Workflows
from server.domain.model import CreateWorkflow, Page, Principal, Workflow
from server.domain.outgoing import Reservation
from server.domain.workflows import WorkflowStore

#: The byte of this list in page tokens.
_LIST = b"w"

#: In SQL, with an array for each column, because a statement can have at most 32,767 parameters.
_ADD_FILES = """
INSERT INTO draft_files (draft_id, version, path, content)
SELECT $1, $2, f.path, f.content FROM unnest($3::text[], $4::bytea[]) AS f (path, content)
"""


_SIZE = """
SELECT octet_length(w.agent_definition::text) + coalesce(
  (SELECT sum(octet_length(content)) FROM draft_files WHERE draft_id = w.current_draft_id), 0)::bigint
FROM workflows w WHERE w.id = $2 AND w.owner_user_id = $1
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
        async with piccolo_connection(self._pool) as connection, connection.transaction():
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
            contents = [text.encode() for text in command.files.values()]
            await connection.execute(_ADD_FILES, draft_id, 1, list(command.files), contents)
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
        async with piccolo_connection(self._pool):
            row = (
                await Workflows.select(
                    *Workflows.all_columns(), Workflows.current_draft_id.version.as_alias("draft_version")
                )
                .where(Workflows.id == workflow_id, Workflows.owner_user_id == principal.user_id)
                .first()
            )
            if row is None:
                return None
            files = await _files(row["current_draft_id"], row["draft_version"])
        return _workflow(row, files)

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
        return page_of([_workflow(row, {}) for row in rows], kind=_LIST, limit=limit)


async def _files(draft_id: UUID, version: int) -> dict[str, str]:
    """The files of a draft at a version: for each path, the newest row up to that version."""
    rows = (
        await DraftFiles.select(DraftFiles.path, DraftFiles.content, DraftFiles.deleted)
        .where(DraftFiles.draft_id == draft_id, DraftFiles.version <= version)
        .distinct(on=[DraftFiles.path])
        .order_by(DraftFiles.path)
        .order_by(DraftFiles.version, ascending=False)
    )
    return {row["path"]: row["content"].decode() for row in rows if not row["deleted"]}


def _workflow(row: dict[str, Any], files: dict[str, str]) -> Workflow:
    return Workflow(
        id=row["id"],
        name=row["name"],
        owner_user_id=row["owner_user_id"],
        agent_definition=json.loads(row.get("agent_definition", "{}")),
        current_draft_id=row["current_draft_id"],
        created_at=row["created_at"],
        files=files,
    )
