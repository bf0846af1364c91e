"""Finished proposals with chosen files, stored as the end of a run stores them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from server.db.contents import add_proposal_contents
from server.db.file_json import StoredFiles
from server.domain.model import Principal, Workflow
from server.domain.proposals.files import File, FileSet
from server.domain.proposals.partition import partition_files
from tests.support.stored import a_run

_FINISH_PROPOSAL = """
UPDATE proposals SET status = $2, generated_files = $3::jsonb, file_count = $4, rejections = $5::jsonb,
  includes_base = $6, completed_at = now() WHERE id = $1
"""
_FINISH_RUN = """
UPDATE runs SET status = $2, finished_at = now(), owner = NULL, lease_until = NULL WHERE proposal_id = $1
"""


def text_files(**texts: str) -> dict[str, File]:
    """Files by their names without the slash."""
    return {f"/{name}": File(text.encode()) for name, text in texts.items()}


async def a_proposal(
    pool: Any,
    principal: Principal,
    workflow: Workflow,
    files: Mapping[str, File] | FileSet,
    *,
    includes_base: bool = True,
    status: str = "completed",
) -> UUID:
    """A proposal of the draft's newest version, whose run ended with these files."""
    lease = await a_run(pool, principal, workflow)
    assert lease.proposal_id is not None
    parts = partition_files(files if isinstance(files, FileSet) else FileSet(files, seen=True))
    stored = StoredFiles.of(parts)
    await pool.execute(
        _FINISH_PROPOSAL,
        lease.proposal_id,
        status,
        stored.generated,
        stored.count,
        stored.rejected,
        includes_base,
        timeout=60,
    )
    await add_proposal_contents(pool, lease.proposal_id, parts.contents)
    await pool.execute(_FINISH_RUN, lease.proposal_id, status)
    return lease.proposal_id
