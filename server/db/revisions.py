"""Rounds of a refinement in PostgreSQL: which proposal revises which, and what the next one starts with. SQL
(ADR 0003)."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from server.db.proposal_rows import read_proposal
from server.db.workflows import workflow_of
from server.domain.model import Principal, Revision, Workflow

#: Until the transaction ends, nobody decides about the revised proposal.
_LOCK = "SELECT FROM proposals WHERE id = $1 FOR SHARE"

_LINK = "UPDATE proposals SET revises_proposal_id = $2 WHERE id = $1"

#: All users with access to the revised proposal have the same to this one. The user who starts it owns it.
_SHARE = """
INSERT INTO proposal_access (proposal_id, user_id, access_type, granted_at, accepted_at)
SELECT $1, user_id, access_type, $3, accepted_at FROM proposal_access WHERE proposal_id = $2
ON CONFLICT DO NOTHING
"""

_KEEP = """
INSERT INTO proposal_decisions (proposal_id, path, decision, new_path, sha256, hunks)
SELECT $1, path, decision, new_path, sha256, hunks FROM proposal_decisions WHERE proposal_id = $2
"""

#: The requests of the rounds before a proposal, and its own, oldest first: at most $2 of them.
_REQUESTS = """
WITH RECURSIVE rounds (user_prompt, revises_proposal_id, number) AS (
  SELECT user_prompt, revises_proposal_id, 1 FROM proposals WHERE id = $1
  UNION ALL
  SELECT p.user_prompt, p.revises_proposal_id, r.number + 1
  FROM rounds r JOIN proposals p ON p.id = r.revises_proposal_id WHERE r.number < $2
)
SELECT user_prompt FROM rounds ORDER BY number DESC
"""

_WORKFLOW = """
SELECT w.id, w.name, w.owner_user_id, w.agent_definition, d.id AS current_draft_id, w.created_at, w.locked_at,
  w.archived_at
FROM drafts d JOIN workflows w ON w.id = d.workflow_id WHERE d.id = $1
"""


async def add_revision(
    connection: Any, principal: Principal, proposal_id: UUID, revision: Revision, *, now: datetime
) -> None:
    """Make a new proposal the next round of another one. Raises NotFound when the principal may no longer see
    that, and as `Revision.check`."""
    revised_id = revision.proposal_id
    await connection.execute(_LOCK, revised_id)
    revision.check(await read_proposal(connection, principal, revised_id))
    await connection.execute(_LINK, proposal_id, revised_id)
    await connection.execute(_SHARE, proposal_id, revised_id, now)
    if revision.keep_decisions:
        await connection.execute(_KEEP, proposal_id, revised_id)


async def read_requests(connection: Any, proposal_id: UUID, most: int) -> list[str]:
    """The last requests up to the proposal's own, oldest first, on a connection or a pool."""
    return [row["user_prompt"] for row in await connection.fetch(_REQUESTS, proposal_id, most)]


async def read_workflow_of(connection: Any, draft_id: UUID) -> Workflow:
    """The workflow of a draft without files, for a caller who may see the draft."""
    return workflow_of(await connection.fetchrow(_WORKFLOW, draft_id))
