"""The journals of finished runs, rewritten as few large rows, which PostgreSQL compresses.

It takes several times as long as to end the run, and nobody waits for it. So runs that end have precedence:
many end together, as after an outage, or when their agents do the same. A journal whose turn has not come
when the process stops, or cannot be compacted, is only larger.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

import asyncpg

from server.db.errors import database_errors
from server.db.run_ends import FINISH_S
from server.domain.crash_points import crash_point
from server.domain.errors import DatabaseUnavailable

_logger = logging.getLogger(__name__)

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
        #: Runs that have ended, each with the time by the event loop until which it waits for other ends.
        self._due: asyncio.Queue[tuple[UUID, float]] = asyncio.Queue()
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

    def add(self, thread_id: UUID) -> None:
        """Have a finished run's rows rewritten soon. Readers see either form."""
        self._due.put_nowait((thread_id, asyncio.get_running_loop().time() + MAX_WAIT_S))

    async def compact_forever(self) -> None:
        """Compact the journals that were added, until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(AT_ONCE):
                workers.create_task(self._compact_each())

    async def _compact_each(self) -> None:
        while True:
            thread_id, waits_until = await self._due.get()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(waits_until):
                    await self._none_ends.wait()
            try:
                with suppress(DatabaseUnavailable), database_errors():
                    await self._pool.execute(COMPACT, thread_id, timeout=FINISH_S)
            except Exception:
                _logger.exception("compaction_failed")
            crash_point("after_compact")
