"""The removal of old journals in PostgreSQL.

SQL (ADR 0003): one statement locks, deletes and updates, and skips the rows that another replica has locked.
"""

from __future__ import annotations

from datetime import timedelta

import asyncpg
from typing_extensions import override

from server.db.errors import database_errors
from server.domain.journal.retention import RetentionStore

#: A floor after the last event means that none is left.
_REMOVE = """
WITH due AS (
  SELECT thread_id FROM runs
  WHERE finished_at < now() - $1::interval AND floor <= last_seq
  ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM events USING due WHERE events.thread_id = due.thread_id
)
UPDATE runs SET floor = last_seq + 1 FROM due WHERE runs.thread_id = due.thread_id RETURNING 1
"""


class PostgresRetentionStore(RetentionStore):
    """The journals of runs that have ended. `timeout_s`: for one batch; nobody waits for it."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 30.0) -> None:
        self._pool, self._timeout_s = pool, timeout_s

    @override
    async def remove(self, older_than: timedelta, limit: int) -> int:
        with database_errors():
            return len(await self._pool.fetch(_REMOVE, older_than, limit, timeout=self._timeout_s))
