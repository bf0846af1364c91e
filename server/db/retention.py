"""The removal of old journals in PostgreSQL.

SQL (ADR 0003): one statement locks, deletes and updates, and skips the rows that another replica has locked.
"""

from __future__ import annotations

from datetime import timedelta

import asyncpg
from typing_extensions import override

from server.db.errors import database_errors
from server.domain.journal.retention import Piece, RetentionStore

#: Rows of one journal that a statement looks at.
MAX_ROWS = 1_000

#: The rows of the oldest journals, each from its beginning, until their bytes are $3: the row that passes
#: it is the last one. The floor moves in the same transaction; one after the last event means that none is
#: left. The sizes are known without reading what is stored.
_REMOVE = f"""
WITH due AS MATERIALIZED (
  SELECT thread_id, finished_at FROM runs
  WHERE finished_at < now() - $1::interval AND NOT emptied
  ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED
), sized AS (
  SELECT due.thread_id, e.first_seq, e.last_seq,
    sum(e.size) OVER (ORDER BY due.finished_at, due.thread_id, e.first_seq) - e.size AS before
  FROM due CROSS JOIN LATERAL (
    SELECT first_seq, last_seq, length(batch) + length(residues) AS size FROM events
    WHERE events.thread_id = due.thread_id ORDER BY first_seq LIMIT {MAX_ROWS}
  ) AS e
), piece AS MATERIALIZED (
  SELECT thread_id, first_seq, last_seq FROM sized WHERE before < $3
), gone AS (
  DELETE FROM events USING piece
  WHERE events.thread_id = piece.thread_id AND events.first_seq = piece.first_seq
), released AS (
  DELETE FROM quarantined_frames USING piece WHERE quarantined_frames.thread_id = piece.thread_id
    AND quarantined_frames.seq BETWEEN piece.first_seq AND piece.last_seq
), removed AS (
  SELECT due.thread_id, coalesce(max(piece.last_seq), 0) AS last_seq
  FROM due LEFT JOIN piece USING (thread_id) GROUP BY due.thread_id
), kept AS (
  SELECT *, EXISTS (
    SELECT FROM events WHERE events.thread_id = removed.thread_id AND events.first_seq > removed.last_seq
  ) AS has_more FROM removed
)
UPDATE runs SET emptied = NOT has_more,
  floor = CASE WHEN has_more THEN kept.last_seq ELSE runs.last_seq END + 1
FROM kept WHERE runs.thread_id = kept.thread_id AND (kept.last_seq > 0 OR NOT has_more)
RETURNING NOT has_more AS whole
"""  # noqa: S608 - only constants


class PostgresRetentionStore(RetentionStore):
    """The journals of runs that have ended. `timeout_s`: for one piece; nobody waits for it."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 10.0) -> None:
        self._pool, self._timeout_s = pool, timeout_s

    @override
    async def remove(self, older_than: timedelta, piece: Piece) -> int | None:
        arguments = (older_than, piece.max_journals, piece.max_bytes)
        with database_errors():
            rows = await self._pool.fetch(_REMOVE, *arguments, timeout=self._timeout_s)
        return sum(row["whole"] for row in rows) if rows else None
