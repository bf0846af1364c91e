"""Finished proposals that are written into the database, as if there had been runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from server.db.workflows import PostgresWorkflowStore
from server.domain.model import Principal
from server.domain.proposals.files import File
from tests.support.proposed import a_proposal

#: A proposal's rows again, under other ids, each a second after the one before.
_COPY = """
WITH numbers AS (
  SELECT n, gen_random_uuid() AS id, gen_random_uuid() AS thread_id FROM generate_series(1, $2) AS n
), proposals_added AS (
  INSERT INTO proposals SELECT (jsonb_populate_record(p, jsonb_build_object(
    'id', numbers.id, 'thread_id', numbers.thread_id, 'created_at', p.created_at + n * interval '1 s',
    'user_prompt', 'request ' || n))).*
  FROM proposals p CROSS JOIN numbers WHERE p.id = $1 RETURNING id
), access_added AS (
  INSERT INTO proposal_access (proposal_id, user_id, access_type, granted_at)
  SELECT n.id, a.user_id, a.access_type, a.granted_at
  FROM proposal_access a CROSS JOIN proposals_added n WHERE a.proposal_id = $1
), runs_added AS (
  INSERT INTO runs SELECT (jsonb_populate_record(r, jsonb_build_object(
    'proposal_id', id, 'thread_id', numbers.thread_id))).*
  FROM runs r CROSS JOIN numbers WHERE r.proposal_id = $1
)
SELECT id FROM numbers ORDER BY n
"""


async def add_proposal(pool: Any, workflow: Mapping[str, Any], files: Mapping[str, File]) -> UUID:
    """A finished proposal of a workflow, as the hub's JSON has it, with these files."""
    owner = Principal(UUID(workflow["owner_user_id"]), "bench")
    found = await PostgresWorkflowStore(pool).get(owner, UUID(workflow["id"]))
    assert found is not None
    return await a_proposal(pool, owner, found, files)


async def copy_proposal(pool: Any, proposal_id: UUID, count: int) -> list[UUID]:
    """Further finished proposals like it, without files, with the texts `request 1` to `request COUNT`."""
    rows = await pool.fetch(_COPY, proposal_id, count, timeout=60)
    await pool.execute("ANALYZE proposals, proposal_access, runs")
    return [row["id"] for row in rows]
