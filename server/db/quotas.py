"""The creations and open streams of each caller, over all replicas, in PostgreSQL.

Each caller has one row. The statement that counts locks the row and checks the limit on its newest version,
so a limit holds when replicas count at the same time. That is SQL (ADR 0003): upserts with jsonb.

The tables are unlogged. After a crash of the database they are empty: replicas report their open streams
again, and a new minute begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.errors import database_errors
from server.domain.access.quotas import DEAD_AFTER_S, QuotaStore

_DEAD_AFTER = timedelta(seconds=DEAD_AFTER_S)

_COUNT_CREATION = """
INSERT INTO quotas AS q (caller_id, minute_began_at, creates) VALUES ($1, now(), 1)
ON CONFLICT (caller_id) DO UPDATE SET
  creates = CASE WHEN q.minute_began_at > now() - interval '1 minute' THEN q.creates + 1 ELSE 1 END,
  minute_began_at = CASE WHEN q.minute_began_at > now() - interval '1 minute' THEN q.minute_began_at
    ELSE now() END
WHERE q.creates < $2 OR q.minute_began_at <= now() - interval '1 minute'
RETURNING true
"""

_RETRY_AFTER_S = """
SELECT ceil(extract(epoch FROM minute_began_at + interval '1 minute' - now()))::integer FROM quotas
WHERE caller_id = $1
"""

#: Also drops the streams of dead replicas.
_COUNT_STREAM = """
INSERT INTO quotas AS q (caller_id, streams) VALUES ($1, jsonb_build_object($2::text, 1))
ON CONFLICT (caller_id) DO UPDATE SET streams = (
    SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}') FROM jsonb_each(q.streams) e
    JOIN replicas r ON r.name = e.key AND r.seen_at > now() - $4::interval
    WHERE e.key <> $2
  ) || jsonb_build_object($2::text, coalesce((q.streams ->> $2)::integer, 0) + 1)
WHERE $3 > (
  SELECT coalesce(sum(e.value::integer), 0) FROM jsonb_each_text(q.streams) e
  WHERE e.key = $2 OR EXISTS (
    SELECT FROM replicas r WHERE r.name = e.key AND r.seen_at > now() - $4::interval))
RETURNING true
"""

#: Also deletes dead replicas and idle callers.
_HEARTBEAT = """
WITH buried AS (
  DELETE FROM replicas WHERE seen_at < now() - interval '1 hour' AND name <> $1
), forgotten AS (
  DELETE FROM quotas WHERE caller_id IN (
    SELECT caller_id FROM quotas q WHERE minute_began_at < now() - interval '1 hour' AND NOT EXISTS (
      SELECT FROM jsonb_object_keys(q.streams) AS s(replica)
      WHERE s.replica = $1 OR EXISTS (SELECT FROM replicas r WHERE r.name = s.replica))
    LIMIT 100 FOR UPDATE SKIP LOCKED)
)
INSERT INTO replicas AS r (name, seen_at) VALUES ($1, now())
ON CONFLICT (name) DO UPDATE SET seen_at = now() RETURNING xmax <> 0
"""

#: Ordered by caller, so that two replicas do not deadlock.
_SET_STREAMS = """
INSERT INTO quotas AS q (caller_id, streams)
SELECT w.caller_id, CASE WHEN w.count > 0 THEN jsonb_build_object($1::text, w.count) ELSE '{}' END
FROM unnest($2::uuid[], $3::integer[]) w (caller_id, count) ORDER BY w.caller_id
ON CONFLICT (caller_id) DO UPDATE SET streams = (q.streams - $1) || excluded.streams
"""


class PostgresQuotaStore(QuotaStore):
    """The counts. `replica` is the name of this process."""

    def __init__(self, pool: asyncpg.Pool, *, replica: str) -> None:
        self._pool, self._replica = pool, replica

    @override
    async def count_creation(self, caller: UUID, limit: int) -> int | None:
        with database_errors():
            if await self._pool.fetchval(_COUNT_CREATION, caller, limit):
                return None
            return max(await self._pool.fetchval(_RETRY_AFTER_S, caller) or 1, 1)

    @override
    async def count_stream(self, caller: UUID, limit: int) -> bool:
        with database_errors():
            counted = await self._pool.fetchval(_COUNT_STREAM, caller, self._replica, limit, _DEAD_AFTER)
        return bool(counted)

    @override
    async def heartbeat(self) -> bool:
        with database_errors():
            return bool(await self._pool.fetchval(_HEARTBEAT, self._replica))

    @override
    async def set_streams(self, counts: Mapping[UUID, int]) -> None:
        with database_errors():
            await self._pool.execute(_SET_STREAMS, self._replica, list(counts), list(counts.values()))
