"""Rows of proposals: what is read wherever a proposal is read, and its record. SQL (ADR 0003)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any
from uuid import UUID

from piccolo.columns import Column

from server.db.busy_drafts import WAITS_FOR
from server.db.file_json import rejected_from_jsonb
from server.db.tables import Proposals
from server.domain.errors import NotFound
from server.domain.model import Failure, Principal, Proposal, ProposalStatus, Resolution
from server.domain.off_loop import REQUESTS
from server.domain.proposals.partition import RejectedFile

#: The columns that are read only for a single proposal: its files.
_FILES = (Proposals.generated_files, Proposals.rejections, Proposals.rejected_files)
#: The columns that are read for every proposal: all others, and the workflow of its draft.
_COLUMNS = Proposals.all_columns(exclude=_FILES)


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(f"p.{column._meta.db_column_name}" for column in columns)


#: The fields of a proposal that are columns of the same name and value.
_PLAIN_FIELDS = {field.name for field in fields(Proposal)} - {
    *("status", "resolution", "failure"),
    *("files", "listed_files", "portability", "rejected_files"),
}

#: The fields that show who works on it, as a share link is shown them.
_FOR_LINKS = {
    *("created_by_user_id", "resolved_by_user_id", "resolution_comment"),
    *("revises_proposal_id", "revised_by_proposal_id", "waits_for_proposal_id"),
}

#: What is read for every proposal, besides its files.
SELECTED = f"""
{_names(_COLUMNS)}, d.workflow_id, d.version AS draft_version,
  (SELECT n.id FROM proposals n WHERE n.revises_proposal_id = p.id AND n.status NOT IN ('failed', 'cancelled')
   ORDER BY n.created_at DESC, n.id DESC LIMIT 1) AS revised_by_proposal_id,
  EXISTS (SELECT FROM proposals n WHERE n.revises_proposal_id = p.id) AS revised,
  {WAITS_FOR} AS waits_for_proposal_id
"""  # noqa: S608 - only constants

VISIBLE = """
FROM proposals p JOIN drafts d ON d.id = p.draft_id
JOIN proposal_callers a ON a.proposal_id = p.id AND a.caller_id = $1
"""

_GET = f"""
SELECT {SELECTED}, coalesce(p.rejections, p.rejected_files) IS NOT NULL AS rejects {VISIBLE} WHERE p.id = $2
"""

_REJECTIONS = "SELECT coalesce(rejections, rejected_files) FROM proposals WHERE id = $1"


def failure_of(row: Any) -> Failure | None:
    """Why a run did not complete, from the row of its proposal."""
    reason = row["failure_reason"]
    return None if reason is None else Failure(reason, row["failure_message"] or "")


async def read_proposal(connection: Any, principal: Principal, proposal_id: UUID) -> Proposal:
    """The proposal without its files, also the rejected ones, on a connection or a pool. Raises NotFound."""
    return (await find_proposal(connection, principal, proposal_id))[0]


async def find_proposal(connection: Any, principal: Principal, proposal_id: UUID) -> tuple[Proposal, bool]:
    """The same, and whether it rejects files."""
    row = await connection.fetchrow(_GET, principal.user_id, proposal_id)
    if row is None:
        raise NotFound("no such proposal")
    return proposal_of(principal, row), row["rejects"]


async def read_rejected(pool: Any, proposal_id: UUID) -> tuple[RejectedFile, ...]:
    """The files that a proposal rejects, for a caller who may see it.

    Not while a connection is held: many files are read beside the event loop, where one has to wait.
    """
    text = await pool.fetchval(_REJECTIONS, proposal_id)
    return await REQUESTS.run_unless_small([len(text or "")], rejected_from_jsonb, text)


def proposal_of(principal: Principal, row: Mapping[str, Any]) -> Proposal:
    """A proposal without its files, as it is shown to the principal, from its row."""
    values: dict[str, Any] = {name: row[name] for name in _PLAIN_FIELDS}
    if principal.is_share_link:
        values |= dict.fromkeys(_FOR_LINKS)
    return Proposal(
        **values,
        status=ProposalStatus(row["status"]),
        resolution=None if row["resolution"] is None else Resolution(row["resolution"]),
        failure=failure_of(row),
    )
