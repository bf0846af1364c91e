"""The journals of finished runs, rewritten as few large rows, which PostgreSQL compresses.

It takes several times as long as to end the run, and nobody waits for it. So runs that end have precedence:
many end together, as after an outage, or when their agents do the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

import asyncpg

from server.db.errors import database_errors
from server.db.run_ends import FINISH_S
from server.domain.errors import DatabaseUnavailable

#: Bytes of the rows that a finished run's journal is compacted into.
COMPACTED_BYTES = 256 << 10
#: Journals that a process compacts at a time, and the seconds that each waits for ends of other runs.
AT_ONCE, MAX_WAIT_S = 2, 1.0

#: Rewrites the rows of a journal, $1, as few large ones.
COMPACT = f"""
WITH old AS (
  DELETE FROM events WHERE thread_id = $1 RETURNING *
), placed AS (
  SELECT *, (sum(length(batch) + length(residues)) OVER (ORDER BY first_seq)) / {COMPACTED_BYTES} AS pack
  FROM old
)
INSERT INTO events (thread_id, first_seq, last_seq, batch, residues, terminal, file_changes)
SELECT thread_id, min(first_seq), max(last_seq), string_agg(batch, ''::bytea ORDER BY first_seq),
  string_agg(residues, ''::bytea ORDER BY first_seq), bool_or(terminal),
  CASE WHEN bool_and(file_changes IS NOT NULL) THEN string_agg(file_changes, ''::bytea ORDER BY first_seq) END
FROM placed GROUP BY thread_id, pack
"""  # noqa: S608 - only constants


class Compaction:
    """Compacts the journals of this process's runs."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._places = asyncio.Semaphore(AT_ONCE)
        #: Runs that are ending.
        self._ending = 0
        self._none_ends = asyncio.Event()
        self._none_ends.set()

    @contextmanager
    def ending(self) -> Iterator[None]:
        """A run ends in the block, its last events included: compaction waits meanwhile."""
        self._ending += 1
        self._none_ends.clear()
        try:
            yield
        finally:
            self._ending -= 1
            if not self._ending:
                self._none_ends.set()

    async def compact(self, thread_id: UUID) -> None:
        """Rewrite a finished run's rows. Readers see either form. Best effort: a journal that is not
        compacted is only larger."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_WAIT_S):
                await self._none_ends.wait()
        async with self._places:
            with suppress(DatabaseUnavailable), database_errors():
                await self._pool.execute(COMPACT, thread_id, timeout=FINISH_S)
