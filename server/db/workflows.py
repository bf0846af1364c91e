"""Workflows and their drafts (ports.Workflows): Piccolo's queries, on the pool's connections."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from piccolo.columns.combination import And, Or

from server.db.engine import ENGINE
from server.db.errors import database_errors
from server.db.page_tokens import page_place, page_token
from server.db.tables import Drafts, DraftVersions, Workflows
from server.domain.model import CreateWorkflow, Page, Principal, Workflow

#: The byte of this list in page tokens.
_LIST = b"w"

#: One array a column: a row of parameters for each file would end at 32,767 parameters.
_ADD_FILES = """
INSERT INTO draft_files (draft_id, version, path, content)
SELECT $1, $2, f.path, f.content FROM unnest($3::text[], $4::bytea[]) AS f (path, content)
"""

#: Each path's row with the highest version, up to the draft's own.
_FILES = """
SELECT path, content FROM (
  SELECT DISTINCT ON (f.path) f.path, f.content, f.deleted
  FROM draft_files f JOIN drafts d ON d.id = f.draft_id AND f.version <= d.version
  WHERE d.id = $1 ORDER BY f.path, f.version DESC
) AS newest WHERE NOT deleted
"""


class PostgresWorkflowStore:
    """The workflows. Each belongs to the principal that made it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

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
        async with self._connection() as connection, connection.transaction():
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

    async def get(self, principal: Principal, workflow_id: UUID) -> Workflow | None:
        """The workflow with its files; None when there is none or it is not the principal's."""
        async with self._connection() as connection:
            row = (
                await Workflows.select()
                .where(Workflows.id == workflow_id, Workflows.owner_user_id == principal.user_id)
                .first()
            )
            if row is None:
                return None
            files = await connection.fetch(_FILES, row["current_draft_id"])
        return _workflow(row, {file["path"]: file["content"].decode() for file in files})

    async def list(self, principal: Principal, *, limit: int, token: str | None) -> Page:
        """Workflows without files, newest first. Raises InvalidArgument for a token not of ours."""
        query = Workflows.select().where(Workflows.owner_user_id == principal.user_id)
        if token is not None:
            created_at, last_id = page_place(_LIST, token)
            same_time = And(Workflows.created_at == created_at, Workflows.id < last_id)
            query = query.where(Or(Workflows.created_at < created_at, same_time))
        query = query.order_by(Workflows.created_at, Workflows.id, ascending=False).limit(limit + 1)
        async with self._connection():
            rows = await query
        items = tuple(_workflow(row, {}) for row in rows[:limit])
        more = len(rows) > limit and items
        return Page(items, page_token(_LIST, items[-1].created_at, items[-1].id) if more else None)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """A connection of the pool, lent to Piccolo."""
        with database_errors():
            async with self._pool.acquire() as connection:
                with ENGINE.on(connection):
                    yield connection


def _workflow(row: dict[str, Any], files: dict[str, str]) -> Workflow:
    return Workflow(
        id=row["id"],
        name=row["name"],
        owner_user_id=row["owner_user_id"],
        agent_definition=json.loads(row["agent_definition"]),
        current_draft_id=row["current_draft_id"],
        created_at=row["created_at"],
        files=files,
    )
