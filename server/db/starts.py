"""The rows of a start: proposal, run, first event and idempotency key. SQL (ADR 0003)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from server.db.busy_drafts import UNFINISHED
from server.db.idempotency import DELETE_EXPIRED, NOT_ACCEPTED_REASONS
from server.db.invocations import invocation_to_jsonb
from server.domain.access.quotas import RUNS_RETRY_S
from server.domain.errors import LimitReached
from server.domain.model import IdempotencyKey, Principal, StartRefinement
from server.domain.runs.runtime import Invocation
from server.encoding.event_batch import delimited_delta, delimited_event

#: All rows of a start in one statement: one round trip.
_START = f"""
WITH expired AS ({DELETE_EXPIRED.format("$8, $15, $16")} AND $15::text IS NOT NULL
), named AS (
  INSERT INTO idempotency_keys AS k (user_id, route, key, request_sha256, thread_id, expires_at)
  SELECT $8, $15, $16, $17, $3, now() + interval '24 hours' FROM drafts
  WHERE id = $2 AND $15::text IS NOT NULL
  ON CONFLICT (user_id, route, key) DO UPDATE
    SET request_sha256 = $17, thread_id = $3, created_at = now(), expires_at = now() + interval '24 hours'
    WHERE k.expires_at < now() OR EXISTS (
      SELECT FROM runs r JOIN proposals p ON p.id = r.proposal_id
      WHERE r.thread_id = k.thread_id AND p.failure_reason = ANY($18::text[]) AND p.queue_number IS NULL)
  RETURNING 1
), proposal AS (
  INSERT INTO proposals (id, draft_id, thread_id, user_prompt, context_file_path, context_selection,
    created_at, created_by_user_id, base_version, status, queue_number)
  SELECT $1, d.id, $3::uuid::text, $4, $5, $6, $7, $8, coalesce($19, d.version),
    CASE WHEN $20 THEN 'queued' ELSE 'processing' END, CASE WHEN $20 THEN nextval('queue_numbers') END
  FROM drafts d
  WHERE d.id = $2 AND ($15::text IS NULL OR EXISTS (SELECT FROM named))
  RETURNING id
), access AS (
  INSERT INTO proposal_access (proposal_id, user_id, access_type, granted_at)
  SELECT id, $8, 'owner', $7 FROM proposal
), run AS (
  -- created_at is the database's time, by which a run's age is judged.
  INSERT INTO runs (thread_id, proposal_id, owner, lease_until, last_seq, trace_id, invocation, status)
  SELECT $3, id, CASE WHEN NOT $20 THEN $9 END, CASE WHEN NOT $20 THEN now() + $10::interval END,
    CASE WHEN $20 THEN 0 ELSE 1 END, $11, $12::jsonb, CASE WHEN $20 THEN 'queued' ELSE 'pending' END
  FROM proposal
), event AS (
  INSERT INTO events (thread_id, first_seq, last_seq, batch, residues, file_changes)
  SELECT $3, 1, 1, $13, $14, '' FROM proposal WHERE NOT $20
)
SELECT id FROM proposal
"""  # noqa: S608 - only constants

#: Starts of one caller run one at a time: two that count concurrently would find the same number of runs.
_LOCK_STARTS = "SELECT pg_advisory_xact_lock(hashtextextended('start ' || $1::uuid::text, 0))"

_COUNT_ACTIVE = f"""
SELECT count(*) FROM proposals WHERE created_by_user_id = $1 AND status IN {UNFINISHED}
"""  # noqa: S608 - only constants


async def check_active_runs(connection: Any, principal: Principal, max_active_runs: int) -> None:
    """Raise LimitReached when the principal has `max_active_runs` runs or more.

    Until the transaction ends, no other start of the principal passes this check.
    """
    await connection.execute(_LOCK_STARTS, principal.user_id)
    if await connection.fetchval(_COUNT_ACTIVE, principal.user_id) >= max_active_runs:
        message = (
            f"at most {max_active_runs} runs may be active at a time: cancel one, or wait for one to end"
        )
        raise LimitReached(message, retry_after_s=RUNS_RETRY_S)


async def insert_start(
    connection: Any,
    principal: Principal,
    command: StartRefinement,
    *,
    proposal_id: UUID,
    invocation: Invocation,
    draft_id: UUID,
    first_event: bytes,
    now: datetime,
    base_version: int | None,
    key: IdempotencyKey | None,
    owner: str,
    lease_ttl: timedelta,
    queued: bool,
) -> bool:
    """Store the rows, with `owner` holding the run's lease unless it is queued. Returns False, and stores
    nothing, when there is no such draft, or the key belongs to an earlier start."""
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
        owner,
        lease_ttl,
        invocation.trace_id,
        invocation_to_jsonb(invocation),
        delimited_event(first_event),
        delimited_delta(b""),
        key.route if key else None,
        key.key if key else None,
        key.request_sha256 if key else None,
        NOT_ACCEPTED_REASONS,
        base_version,
        queued,
    )
    return stored is not None
