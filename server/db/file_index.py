"""The index of changed files in PostgreSQL: a column of the journal's rows, with an index of its own.

SQL (ADR 0003): as the journal's.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.errors import database_errors
from server.domain.file_history.store import FileIndexStore, IndexedSegment

#: Rows of one read at most.
_MAX_ROWS = 1_000

#: A row that holds `after` may begin before it. `IS DISTINCT FROM ''` is the condition of the partial index.
_READ = f"""
SELECT r.floor, e.first_seq, e.last_seq, e.file_changes, e.batch
FROM runs r LEFT JOIN LATERAL (
  SELECT * FROM (
    SELECT *, sum(coalesce(length(file_changes), length(batch))) OVER ordered AS size,
      row_number() OVER ordered = 1 AS first
    FROM (
      SELECT first_seq, last_seq, file_changes, CASE WHEN file_changes IS NULL THEN batch END AS batch
      FROM events
      WHERE thread_id = $1 AND file_changes IS DISTINCT FROM ''::bytea
        AND first_seq >= coalesce(
          (SELECT max(first_seq) FROM events WHERE thread_id = $1 AND first_seq <= $2 + 1), 1)
        AND last_seq > $2 AND first_seq <= $3
      ORDER BY first_seq LIMIT {_MAX_ROWS}
    ) AS next WINDOW ordered AS (ORDER BY first_seq)
  ) AS sized WHERE size <= $4 OR first
) AS e ON true
WHERE r.thread_id = $1
ORDER BY e.first_seq
"""  # noqa: S608 - only constants

_SIZE = """
SELECT coalesce(sum(length(file_changes)), 0)::bigint FROM events
WHERE thread_id = $1 AND file_changes IS DISTINCT FROM ''::bytea AND first_seq <= $2
"""

_ADD = """
UPDATE events e SET file_changes = i.file_changes
FROM unnest($2::int[], $3::int[], $4::bytea[]) AS i(first_seq, last_seq, file_changes)
WHERE e.thread_id = $1 AND e.first_seq = i.first_seq AND e.last_seq = i.last_seq AND e.file_changes IS NULL
"""


class PostgresFileIndexStore(FileIndexStore):
    """The entries of all journals' rows."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @override
    async def read(
        self, thread_id: UUID, after: int, up_to: int, *, max_bytes: int
    ) -> tuple[Sequence[IndexedSegment], int]:
        with database_errors():
            rows = await self._pool.fetch(_READ, thread_id, after, up_to, max_bytes)
        segments = [
            IndexedSegment(row["first_seq"], row["last_seq"], row["file_changes"], row["batch"] or b"")
            for row in rows
            if row["first_seq"] is not None
        ]
        return segments, rows[0]["floor"] if rows else 1

    @override
    async def size_bytes(self, thread_id: UUID, up_to: int) -> int:
        with database_errors():
            size: int = await self._pool.fetchval(_SIZE, thread_id, up_to)
        return size

    @override
    async def add(self, thread_id: UUID, segments: Sequence[IndexedSegment]) -> None:
        columns = (
            [segment.first_seq for segment in segments],
            [segment.last_seq for segment in segments],
            [segment.entries for segment in segments],
        )
        with database_errors():
            await self._pool.execute(_ADD, thread_id, *columns)
