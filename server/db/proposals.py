"""Proposals and their refinements in PostgreSQL (ports.Proposals).

Every query that a caller asks for joins the view `proposal_callers` (`server.db.access`), so a proposal
that is not the caller's and one that does not exist give the same nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from server.db.errors import database_errors
from server.db.file_json import files_from_jsonb, rejected_from_jsonb
from server.db.invocations import invocation_to_jsonb
from server.db.page_tokens import page_place, page_token
from server.domain.access.quotas import RUNS_RETRY_S
from server.domain.errors import LimitReached, NotFound
from server.domain.journal.segments import framed_delta, framed_event
from server.domain.model import (
    Failure,
    IdempotencyKey,
    Page,
    Principal,
    Proposal,
    ProposalStatus,
    Refinement,
    StartRefinement,
)
from server.domain.proposals.store import EarlierStart
from server.domain.runs.lease import Lease
from server.domain.runs.runtime import Invocation
from server.domain.runs.status import RunStatus

#: The byte of this list in page tokens.
_LIST = b"p"

#: One statement for all that a start stores.
_START = """
WITH expired AS (
  DELETE FROM idempotency_keys WHERE $15::text IS NOT NULL AND (user_id, route, key) IN (
    SELECT user_id, route, key FROM idempotency_keys
    WHERE expires_at < now() AND (user_id, route, key) <> ($8, $15, $16)
    LIMIT 10 FOR UPDATE SKIP LOCKED)
), named AS (
  INSERT INTO idempotency_keys AS k (user_id, route, key, request_sha256, thread_id, expires_at)
  SELECT $8, $15, $16, $17, $3, now() + interval '24 hours' FROM drafts
  WHERE id = $2 AND $15::text IS NOT NULL
  ON CONFLICT (user_id, route, key) DO UPDATE
    SET request_sha256 = $17, thread_id = $3, created_at = now(), expires_at = now() + interval '24 hours'
    WHERE k.expires_at < now() OR EXISTS (
      SELECT FROM runs r JOIN proposals p ON p.id = r.proposal_id
      WHERE r.thread_id = k.thread_id AND p.failure_reason = ANY($18::text[]))
  RETURNING 1
), proposal AS (
  INSERT INTO proposals (id, draft_id, thread_id, user_prompt, context_file_path, context_selection,
    created_at, created_by_user_id, base_version)
  SELECT $1, d.id, $3::uuid::text, $4, $5, $6, $7, $8, d.version FROM drafts d
  WHERE d.id = $2 AND ($15::text IS NULL OR EXISTS (SELECT FROM named))
  RETURNING id
), access AS (
  INSERT INTO proposal_access (proposal_id, user_id, access_type, granted_at)
  SELECT id, $8, 'owner', $7 FROM proposal
), run AS (
  INSERT INTO runs (thread_id, proposal_id, owner, lease_until, last_seq, trace_id, invocation, created_at)
  SELECT $3, id, $9, now() + $10::interval, 1, $11, $12::jsonb, $7 FROM proposal
), event AS (
  INSERT INTO events (thread_id, first_seq, last_seq, batch, residues)
  SELECT $3, 1, 1, $13, $14 FROM proposal
)
SELECT id FROM proposal
"""

#: Of a caller's starts; else two at once would count the same runs.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('start ' || $1::uuid::text, 0))"

_LIVE = """
SELECT count(*) FROM proposals WHERE created_by_user_id = $1 AND status IN ('processing', 'awaiting_input')
"""

_EARLIER = """
SELECT k.request_sha256, k.thread_id, r.proposal_id, r.created_at,
  r.status NOT IN ('pending', 'invoking') AND NOT n.never AS taken, k.expires_at < now() OR n.never AS free
FROM idempotency_keys k JOIN runs r ON r.thread_id = k.thread_id JOIN proposals p ON p.id = r.proposal_id,
  LATERAL (SELECT p.failure_reason IS NOT NULL AND p.failure_reason = ANY($4::text[]) AS never) n
WHERE k.user_id = $1 AND k.route = $2 AND k.key = $3
"""

#: Failures of a run that the runtime never took. Its starter was told an error: the same request again
#: must be able to succeed, so it starts a run anew.
_NOT_TAKEN = ["runtime_refused", "runtime_unavailable", "invoke_uncertain"]

_COLUMNS = """p.id, p.draft_id, d.workflow_id, p.thread_id, p.status, p.user_prompt, p.created_at,
  p.created_by_user_id, p.context_file_path, p.context_selection, p.completed_at, p.resolved_by_user_id,
  p.resolved_at, p.failure_reason, p.failure_message, p.file_count"""

_SEEN_BY = """FROM proposals p JOIN drafts d ON d.id = p.draft_id
JOIN proposal_callers a ON a.proposal_id = p.id AND a.caller_id = $1"""

_GET = f"SELECT {_COLUMNS}, p.generated_files, p.rejected_files {_SEEN_BY} WHERE p.id = $2"

_PAGE = f"""
SELECT {_COLUMNS} {_SEEN_BY}
WHERE ($2::uuid IS NULL OR d.workflow_id = $2) AND ($3::text IS NULL OR p.status = $3)
  AND ($4::timestamptz IS NULL OR (p.created_at, p.id) < ($4, $5::uuid))
ORDER BY p.created_at DESC, p.id DESC LIMIT $6
"""

_REFINEMENT = f"""
SELECT r.thread_id, r.epoch, r.last_seq, r.floor, p.id, d.workflow_id, p.status, p.created_at,
  p.completed_at, p.failure_reason, p.failure_message, r.invocation ->> 'traceparent' AS traceparent
{_SEEN_BY} JOIN runs r ON r.proposal_id = p.id WHERE r.thread_id = $2
"""


class PostgresProposalStore:
    """The proposals. Runs that it starts belong to `owner`, this replica, for `lease_ttl_s` seconds."""

    def __init__(self, pool: asyncpg.Pool, *, owner: str, lease_ttl_s: float) -> None:
        self._pool = pool
        self._owner = owner
        self._ttl = timedelta(seconds=lease_ttl_s)

    async def start(
        self,
        principal: Principal,
        command: StartRefinement,
        *,
        proposal_id: UUID,
        invocation: Invocation,
        draft_id: UUID,
        first_event: bytes,
        now: datetime,
        key: IdempotencyKey | None = None,
        max_active_runs: int = 0,
    ) -> Lease | EarlierStart:
        """Store proposal, access, run, event 1 and key in one transaction; the run's lease is ours.

        When the key stands for something, that, and nothing is stored. Raises NotFound for a draft that
        is gone, LimitReached when the principal has `max_active_runs` runs that are not over (0: no limit).

        When it raises DatabaseUnavailable the commit may have happened all the same: then nobody
        holds the lease once it runs out, and the run is taken over like any other.
        """
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                if max_active_runs:
                    await _check_live(connection, principal, max_active_runs)
                stored = await connection.fetchval(
                    _START,
                    proposal_id,
                    draft_id,
                    invocation.job_id,
                    command.user_prompt,
                    command.context_file_path,
                    command.context_selection,
                    now,
                    principal.user_id,
                    self._owner,
                    self._ttl,
                    invocation.trace_id,
                    invocation_to_jsonb(invocation),
                    framed_event(first_event),
                    framed_delta(b""),
                    key.route if key else None,
                    key.key if key else None,
                    key.request_sha256 if key else None,
                    _NOT_TAKEN,
                )
        if stored is None:
            earlier = await self.earlier(principal, key) if key else None
            if earlier is None:
                raise NotFound("there is no such workflow")
            return earlier
        return Lease(
            thread_id=invocation.job_id,
            fence=1,
            status=RunStatus.PENDING,
            attempt=0,
            last_seq=1,
            epoch=1,
            invocation=invocation,
            created_at=now,
            proposal_id=proposal_id,
            workflow_id=command.workflow_id,
        )

    async def earlier(self, principal: Principal, key: IdempotencyKey) -> EarlierStart | None:
        """What the principal's key stands for, or stood for; None when it was never used."""
        with database_errors():
            row = await self._pool.fetchrow(_EARLIER, principal.user_id, key.route, key.key, _NOT_TAKEN)
        return None if row is None else EarlierStart(**row)

    async def refinement(self, principal: Principal, thread_id: UUID) -> Refinement | None:
        """The refinement; None when there is none or the principal may not see it."""
        with database_errors():
            row = await self._pool.fetchrow(_REFINEMENT, principal.user_id, thread_id)
        if row is None:
            return None
        return Refinement(
            thread_id=row["thread_id"],
            proposal_id=row["id"],
            workflow_id=row["workflow_id"],
            status=ProposalStatus(row["status"]),
            epoch=row["epoch"],
            last_seq=row["last_seq"],
            floor=row["floor"],
            created_at=row["created_at"],
            completed_at=row["completed_at"],
            failure=_failure(row),
            traceparent=row["traceparent"] or "",
        )

    async def get(self, principal: Principal, proposal_id: UUID) -> Proposal | None:
        """The proposal with its files; None as above."""
        with database_errors():
            row = await self._pool.fetchrow(_GET, principal.user_id, proposal_id)
        return None if row is None else _proposal(row, row["generated_files"], row["rejected_files"])

    async def list(
        self,
        principal: Principal,
        *,
        limit: int,
        token: str | None,
        workflow_id: UUID | None,
        status: ProposalStatus | None,
    ) -> Page:
        """Proposals without files, newest first. Raises InvalidArgument for a token not of ours."""
        before, before_id = page_place(_LIST, token) if token is not None else (None, None)
        word = status.value if status is not None else None
        with database_errors():
            rows = await self._pool.fetch(
                _PAGE, principal.user_id, workflow_id, word, before, before_id, limit + 1
            )
        items = tuple(_proposal(row) for row in rows[:limit])
        more = len(rows) > limit and items
        return Page(items, page_token(_LIST, items[-1].created_at, items[-1].id) if more else None)


async def _check_live(connection: Any, principal: Principal, most: int) -> None:
    """Raises LimitReached when the principal has as many runs that are not over as it may; else nobody
    starts another for it before the transaction ends."""
    await connection.execute(_ONE_AT_A_TIME, principal.user_id)
    if await connection.fetchval(_LIVE, principal.user_id) >= most:
        message = f"at most {most} runs may be live at a time: cancel one, or wait for one to end"
        raise LimitReached(message, retry_after_s=RUNS_RETRY_S)


def _failure(row: Any) -> Failure | None:
    reason = row["failure_reason"]
    return None if reason is None else Failure(reason, row["failure_message"] or "")


def _proposal(row: Any, files: str | None = None, rejected: str | None = None) -> Proposal:
    """A proposal of a row with `_COLUMNS`."""
    return Proposal(
        id=row["id"],
        draft_id=row["draft_id"],
        workflow_id=row["workflow_id"],
        thread_id=row["thread_id"],
        status=ProposalStatus(row["status"]),
        user_prompt=row["user_prompt"],
        created_at=row["created_at"],
        created_by_user_id=row["created_by_user_id"],
        context_file_path=row["context_file_path"],
        context_selection=row["context_selection"],
        completed_at=row["completed_at"],
        resolved_by_user_id=row["resolved_by_user_id"],
        resolved_at=row["resolved_at"],
        failure=_failure(row),
        file_count=row["file_count"],
        files=files_from_jsonb(files),
        rejected_files=rejected_from_jsonb(rejected),
    )
