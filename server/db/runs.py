"""Runs and their leases in PostgreSQL.

All times are the database's own: a replica whose clock is wrong neither keeps a run too long nor takes one
over too early. Every change checks the lease in its WHERE clause, so this is SQL (ADR 0003).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.busy_drafts import MAY_BEGIN
from server.db.drafts import FROZEN
from server.db.errors import database_errors
from server.db.invocations import invocation_from_jsonb
from server.db.lock_queues import LockQueues
from server.db.replies import reply_from_text
from server.domain.errors import LeaseLost
from server.domain.runs.lease import Lease, Renewed, RunStore
from server.domain.runs.replies import Reply
from server.domain.runs.status import RunStatus

#: The statuses of runs that somebody drives, or should, as an SQL list.
ACTIVE_STATUSES = "('pending', 'invoking', 'running')"
#: The statuses of runs that have ended.
ENDED_STATUSES = "('completed', 'failed', 'cancelled')"

#: Seconds within which a claim is answered, or takes nothing.
CLAIM_S = 5.0

#: Far cheaper than a claim, which locks rows.
_FIND_EXPIRED = f"""
SELECT clock_timestamp() WHERE EXISTS (
  SELECT FROM runs WHERE status IN {ACTIVE_STATUSES} AND (lease_until IS NULL OR lease_until < now())
    AND thread_id <> ALL($1::uuid[])
) OR EXISTS (
  SELECT FROM runs r JOIN proposals p ON p.id = r.proposal_id WHERE r.status = 'queued' AND {MAY_BEGIN})
"""  # noqa: S608 - only constants

_CLAIM_EXPIRED = f"""
WITH expired AS (
  SELECT thread_id FROM runs
  WHERE status IN {ACTIVE_STATUSES} AND (lease_until IS NULL OR lease_until < now())
    AND thread_id <> ALL($4::uuid[])
    -- A server that hung executes the statement when nobody waits for it any more.
    AND clock_timestamp() < $5::timestamptz + $6::interval
  ORDER BY lease_until NULLS FIRST LIMIT $1 FOR UPDATE SKIP LOCKED
), queued AS (
  SELECT r.thread_id, r.proposal_id, {FROZEN} AS frozen FROM runs r JOIN proposals p ON p.id = r.proposal_id
  JOIN drafts d ON d.id = p.draft_id JOIN workflows w ON w.id = d.workflow_id
  WHERE r.status = 'queued' AND {MAY_BEGIN} AND clock_timestamp() < $5::timestamptz + $6::interval
  ORDER BY p.queue_number LIMIT $1 FOR UPDATE OF r SKIP LOCKED
), due AS (
  SELECT thread_id, false AS dequeued, NULL AS frozen FROM expired
  UNION ALL SELECT thread_id, true, frozen FROM queued
), newest AS (
  -- A queued run works on what was accepted while it waited; a revision keeps its base.
  SELECT q.thread_id, d.version FROM queued q JOIN proposals p ON p.id = q.proposal_id
  JOIN drafts d ON d.id = p.draft_id WHERE p.revises_proposal_id IS NULL
), taken AS (
  UPDATE runs r SET owner = $2, fence = r.fence + 1, lease_until = now() + $3::interval,
    status = CASE WHEN due.dequeued THEN 'pending' ELSE r.status END,
    created_at = CASE WHEN due.dequeued THEN now() ELSE r.created_at END,
    -- A start of its workflow would be refused now.
    cancel_requested_at = CASE WHEN due.frozen IS NULL THEN r.cancel_requested_at
      ELSE coalesce(r.cancel_requested_at, now()) END,
    -- A job without files has no version of the draft: then nothing is set.
    invocation = CASE WHEN n.version IS NULL THEN r.invocation
      ELSE jsonb_set(r.invocation, '{{draft,version}}', to_jsonb(n.version)) END,
    -- A lease without an owner was released: no replica died while it drove the run.
    takeovers = CASE WHEN r.last_seq > r.takeover_seq THEN 1 WHEN r.owner IS NULL
      THEN greatest(r.takeovers, 1) ELSE r.takeovers + 1 END,
    takeover_seq = r.last_seq
  FROM due LEFT JOIN newest n USING (thread_id) WHERE r.thread_id = due.thread_id
  RETURNING r.*, due.dequeued, due.frozen
), begun AS (
  UPDATE proposals p SET status = 'processing', base_version = coalesce(n.version, p.base_version)
  FROM taken LEFT JOIN newest n USING (thread_id)
  WHERE p.id = taken.proposal_id AND taken.dequeued AND taken.frozen IS NULL
)
SELECT taken.*, d.workflow_id, extract(epoch FROM now() - taken.created_at)::float8 AS age_s FROM taken
JOIN proposals p ON p.id = taken.proposal_id JOIN drafts d ON d.id = p.draft_id
"""  # noqa: S608 - only constants

_AWAIT_INPUT = """
WITH run AS (
  UPDATE runs SET takeovers = 0, closed_input_seq = greatest(closed_input_seq, $3::int - 1),
    reply = CASE WHEN closed_input_seq >= $3::int THEN reply END
  WHERE thread_id = $1 AND fence = $2
  RETURNING proposal_id, reply, closed_input_seq >= $3::int AS answered
), shown AS (
  UPDATE proposals p SET status = 'awaiting_input' FROM run
  WHERE p.id = run.proposal_id AND p.status = 'processing' AND NOT run.answered
)
SELECT CASE WHEN answered THEN reply END AS reply FROM run
"""

_RESUMED = "UPDATE runs SET reply = NULL WHERE thread_id = $1 AND fence = $2 RETURNING true"

_BASE_INCLUDED = """
UPDATE proposals p SET includes_base = true FROM runs r
WHERE r.thread_id = $1 AND r.fence = $2 AND p.id = r.proposal_id RETURNING true
"""

_RENEW = f"""
WITH held AS (
  SELECT r.thread_id FROM runs r JOIN unnest($1::uuid[], $2::bigint[]) AS l(thread_id, fence)
    ON r.thread_id = l.thread_id AND r.fence = l.fence
  WHERE r.status IN {ACTIVE_STATUSES}
  -- A locked row is being appended to, which renews its lease.
  FOR UPDATE OF r SKIP LOCKED
)
UPDATE runs r SET lease_until = now() + $3::interval,
  takeovers = CASE WHEN r.thread_id = ANY($4::uuid[]) THEN 0 ELSE r.takeovers END
FROM held WHERE r.thread_id = held.thread_id
"""  # noqa: S608 - only constants

_REQUEST_CANCELS = f"""
UPDATE runs SET cancel_requested_at = coalesce(cancel_requested_at, now()),
  -- Nobody has a lease on a queued run: it can be taken over at once.
  status = CASE WHEN status = 'queued' THEN 'pending' ELSE status END
WHERE thread_id = ANY($1::uuid[]) AND status NOT IN {ENDED_STATUSES}
"""  # noqa: S608 - only constants

_RELEASE = f"""
UPDATE runs r SET owner = NULL, lease_until = NULL, fence = r.fence + 1
FROM unnest($1::uuid[], $2::bigint[]) AS l(thread_id, fence)
WHERE r.thread_id = l.thread_id AND r.fence = l.fence AND r.status IN {ACTIVE_STATUSES}
"""  # noqa: S608 - only constants

_HELD = """
SELECT r.thread_id, r.cancel_requested_at IS NOT NULL AS cancelled, r.reply IS NOT NULL AS replied,
  EXISTS (
    SELECT FROM quarantined_frames q
    WHERE q.thread_id = r.thread_id AND q.release_requested_at IS NOT NULL
  ) AS release_due
FROM runs r JOIN unnest($1::uuid[], $2::bigint[]) AS l(thread_id, fence)
  ON r.thread_id = l.thread_id AND r.fence = l.fence
"""


class PostgresRunStore(RunStore):
    """The runs of all replicas. `owner` is the name of this one, `lease_ttl_s` how long its leases last."""

    def __init__(self, pool: asyncpg.Pool, *, owner: str, lease_ttl_s: float) -> None:
        self._pool = pool
        self._owner = owner
        self._ttl = timedelta(seconds=lease_ttl_s)
        self._locks = LockQueues()

    @override
    async def set_status(
        self, lease: Lease, status: RunStatus, *, attempt: int, runtime_thread_id: str | None = None
    ) -> None:
        with database_errors():
            done = await self._pool.fetchval(
                f"UPDATE runs SET status = $3, attempt = $4, lease_until = now() + $5::interval, "  # noqa: S608
                # The job's own id is the row's key.
                f"runtime_thread_id = nullif($6, $1::uuid::text) "
                f"WHERE thread_id = $1 AND fence = $2 AND status IN {ACTIVE_STATUSES} RETURNING true",
                lease.thread_id,
                lease.fence,
                status.value,
                attempt,
                self._ttl,
                runtime_thread_id,
            )
        if not done:
            raise LeaseLost

    @override
    async def await_input(self, lease: Lease, seq: int) -> Reply | None:
        with database_errors():
            row = await self._pool.fetchrow(_AWAIT_INPUT, lease.thread_id, lease.fence, seq)
        if row is None:
            raise LeaseLost
        reply = reply_from_text(row["reply"])
        return reply if reply is not None and reply.seq == seq else None

    @override
    async def note_resumed(self, lease: Lease) -> None:
        with database_errors():
            done = await self._pool.fetchval(_RESUMED, lease.thread_id, lease.fence)
        if not done:
            raise LeaseLost

    @override
    async def note_base_included(self, lease: Lease) -> None:
        with database_errors():
            done = await self._pool.fetchval(_BASE_INCLUDED, lease.thread_id, lease.fence)
        if not done:
            raise LeaseLost

    @override
    async def renew(
        self, leases: Sequence[tuple[UUID, int]], *, advanced: Collection[UUID] = ()
    ) -> Mapping[UUID, Renewed]:
        if not leases:
            return {}
        threads, fences = [thread for thread, _ in leases], [fence for _, fence in leases]
        with database_errors():
            async with self._pool.acquire() as connection:
                await connection.execute(_RENEW, threads, fences, self._ttl, list(advanced))
                rows = await connection.fetch(_HELD, threads, fences)
        return {
            row["thread_id"]: Renewed(row["cancelled"], row["replied"], row["release_due"]) for row in rows
        }

    @override
    async def release(self, leases: Sequence[Lease]) -> None:
        threads, fences = [lease.thread_id for lease in leases], [lease.fence for lease in leases]
        with database_errors():
            await self._pool.execute(_RELEASE, threads, fences)

    @override
    async def find_expired(self, driven: Collection[UUID]) -> datetime | None:
        with database_errors():
            found_at: datetime | None = await self._pool.fetchval(_FIND_EXPIRED, list(driven))
        return found_at

    @override
    async def claim_expired(
        self, limit: int, *, found_at: datetime, driven: Collection[UUID] = ()
    ) -> Sequence[Lease]:
        within = timedelta(seconds=CLAIM_S)
        with database_errors():
            rows = await self._pool.fetch(
                _CLAIM_EXPIRED, limit, self._owner, self._ttl, list(driven), found_at, within, timeout=CLAIM_S
            )
        return [
            Lease(
                thread_id=row["thread_id"],
                fence=row["fence"],
                status=RunStatus(row["status"]),
                attempt=row["attempt"],
                last_seq=row["last_seq"],
                epoch=row["epoch"],
                invocation=invocation_from_jsonb(row["invocation"]),
                age_s=row["age_s"],
                proposal_id=row["proposal_id"],
                workflow_id=row["workflow_id"],
                takeovers=row["takeovers"],
                chosen_thread_id=row["runtime_thread_id"],
                dequeued=row["dequeued"],
                frozen=row["frozen"],
                cancelled=row["cancel_requested_at"] is not None,
                reply=reply_from_text(row["reply"]),
            )
            for row in rows
        ]

    @override
    async def request_cancel(self, thread_id: UUID) -> None:
        # The end of a run with many files has its row for seconds.
        async with self._locks.turn(thread_id):
            with database_errors():
                await request_cancels(self._pool, [thread_id])


async def request_cancels(connection: Any, thread_ids: Sequence[UUID]) -> None:
    """Record that the runs are to be cancelled, on a connection or a pool."""
    await connection.execute(_REQUEST_CANCELS, thread_ids)
