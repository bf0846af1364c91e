"""The journal in PostgreSQL: one writer a process, group commit without a timer.

1. Only committed segments are told (`on_commit`) and returned.
2. The next commit takes what came in while the last one was under way, of all runs, up to a bound.
3. One statement checks the fence and moves `last_seq` from the value that the writer knows to the new
   one; a run whose row does not match writes nothing.
4. When the connection breaks during a commit, nobody knows whether it happened: the row is read again
   and tells. Nothing is written twice and nothing is lost.
5. A commit also renews the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg

from server.db.errors import database_errors
from server.db.file_json import StoredFiles
from server.db.journal_log import MAX_RETRY_S, RETRY_FIRST_S, Batch, PostgresJournalLog
from server.domain.crash_points import crash_point
from server.domain.errors import DatabaseUnavailable
from server.domain.journal.events import Outcome
from server.domain.journal.journal import JournalHead, OnCommit, OnCommitTime
from server.domain.journal.segments import Segment
from server.domain.model import Failure
from server.domain.runs.lease import Lease

_logger = logging.getLogger(__name__)

#: Most bytes of one commit, but for a single event that is larger.
COMMIT_BYTES = 256 << 10
#: Bytes of the rows that a finished run's journal is repacked into.
PACKED_BYTES = 256 << 10

_LIVE = "('pending', 'invoking', 'running')"

_APPEND = f"""
WITH input AS (
  SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::int[], $5::int[], $6::bytea[], $7::bytea[])
    AS i(thread_id, fence, base, last, epoch, batch, residues)
), moved AS (
  UPDATE runs r SET last_seq = i.last, epoch = i.epoch, lease_until = now() + $8::interval
  FROM input i
  WHERE r.thread_id = i.thread_id AND r.fence = i.fence AND r.last_seq = i.base AND r.status IN {_LIVE}
  RETURNING r.thread_id
), added AS (
  INSERT INTO events (thread_id, first_seq, last_seq, batch, residues)
  SELECT i.thread_id, i.base + 1, i.last, i.batch, i.residues FROM input i JOIN moved USING (thread_id)
)
SELECT thread_id FROM moved
"""  # noqa: S608 - only constants

_FINISH_RUN = f"""
UPDATE runs SET last_seq = $3 + 1, epoch = $4, status = $5, finished_at = now(), lease_until = NULL,
  owner = NULL
WHERE thread_id = $1 AND fence = $2 AND last_seq = $3 AND status IN {_LIVE}
RETURNING proposal_id
"""  # noqa: S608 - only constants

_FINISH_EVENT = """
INSERT INTO events (thread_id, first_seq, last_seq, batch, residues, terminal)
VALUES ($1, $2, $2, $3, $4, true)
"""

_FINISH_PROPOSAL = """
UPDATE proposals SET status = $2, generated_files = $3::jsonb, file_count = $4, rejected_files = $5::jsonb,
  failure_reason = $6, failure_message = $7, completed_at = now()
WHERE id = $1
"""

_PACK = f"""
WITH old AS (
  DELETE FROM events WHERE thread_id = $1 RETURNING *
), placed AS (
  SELECT *, (sum(length(batch) + length(residues)) OVER (ORDER BY first_seq)) / {PACKED_BYTES} AS pack
  FROM old
)
INSERT INTO events (thread_id, first_seq, last_seq, batch, residues, terminal)
SELECT thread_id, min(first_seq), max(last_seq), string_agg(batch, ''::bytea ORDER BY first_seq),
  string_agg(residues, ''::bytea ORDER BY first_seq), bool_or(terminal)
FROM placed GROUP BY thread_id, pack
"""  # noqa: S608 - only constants


class PostgresJournal:
    """The journals of all threads (ports.Journal), with this process's writer."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        on_commit: OnCommit,
        lease_ttl_s: float,
        max_queued_bytes: int = 8 << 20,
        on_commit_time: OnCommitTime = lambda seconds, lag_s: None,
    ) -> None:
        self._pool = pool
        self._ttl = timedelta(seconds=lease_ttl_s)
        self.on_commit = on_commit
        self._on_commit_time = on_commit_time
        self.max_queued_bytes = max_queued_bytes
        self._logs: weakref.WeakSet[PostgresJournalLog] = weakref.WeakSet()
        #: Logs with something to commit, oldest first.
        self._ready: dict[PostgresJournalLog, None] = {}
        self._work = asyncio.Event()

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """The writer runs inside; on leaving, it is stopped and what is queued is dropped."""
        writer = asyncio.create_task(self._write_forever(), name="journal writer")
        try:
            yield
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    def open(self, lease: Lease) -> PostgresJournalLog:
        """The log of a run that the caller holds the lease of."""
        log = PostgresJournalLog(self, lease)
        self._logs.add(log)
        return log

    @property
    def queued_bytes(self) -> int:
        """Bytes of all runs that wait to be committed."""
        return sum(log.queued_bytes for log in self._logs)

    def changed(self, log: PostgresJournalLog) -> None:
        """A log has something to commit."""
        self._ready[log] = None
        self._work.set()

    # --- The writer --------------------------------------------------------------------------

    async def _write_forever(self) -> None:
        while True:
            await self._work.wait()
            batches = self._collect()
            if batches:
                await self._commit(batches)

    def _collect(self) -> list[Batch]:
        """The next commit: from each ready log in turn, up to the bound."""
        batches: list[Batch] = []
        left = COMMIT_BYTES
        for log in list(self._ready):
            del self._ready[log]
            if not log.waiting:
                continue
            batch = log.take(left)
            batches.append(batch)
            left -= len(batch.batch) + len(batch.delta_batch)
            if log.waiting:
                # Behind the others, for the next commit.
                self._ready[log] = None
            if left <= 0:
                break
        if not self._ready:
            self._work.clear()
        return batches

    async def _commit(self, batches: list[Batch]) -> None:
        """Commit the batches, however often the database goes away meanwhile."""
        pause_s = RETRY_FIRST_S
        while batches:
            try:
                crash_point("before_append")
                began = time.monotonic()
                with database_errors():
                    rows = await self._pool.fetch(_APPEND, *_columns(batches), self._ttl)
                self._measure(batches, began)
                crash_point("after_append")
                moved = {row["thread_id"] for row in rows}
                for batch in batches:
                    if batch.log.thread_id in moved:
                        self._settle(batch)
                batches = [batch for batch in batches if batch.log.thread_id not in moved]
                if batches:
                    batches = await self._weigh(batches)
            except (DatabaseUnavailable, asyncpg.DeadlockDetectedError):
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, MAX_RETRY_S)
                with contextlib.suppress(DatabaseUnavailable):
                    batches = await self._weigh(batches)
            except Exception:
                # A fault of ours: these runs stop here and are taken up again; the others go on.
                _logger.exception("journal_commit_failed")
                for batch in batches:
                    batch.log.lose()
                return

    def _measure(self, batches: list[Batch], began: float) -> None:
        """Tell how long a commit took that came back, and how long the oldest event had waited for it."""
        now = time.monotonic()
        self._on_commit_time(now - began, now - min(batch.put_at for batch in batches))

    async def _weigh(self, batches: list[Batch]) -> list[Batch]:
        """Find out which of the batches are committed after all; those to send again."""
        with database_errors():
            rows = await self._pool.fetch(
                f"SELECT thread_id, fence, last_seq FROM runs "  # noqa: S608 - only constants
                f"WHERE thread_id = ANY($1::uuid[]) AND status IN {_LIVE}",
                [batch.log.thread_id for batch in batches],
            )
        stands = {row["thread_id"]: (row["fence"], row["last_seq"]) for row in rows}
        again: list[Batch] = []
        for batch in batches:
            fence_and_seq = stands.get(batch.log.thread_id)
            if fence_and_seq == (batch.log.fence, batch.last):
                self._settle(batch)
            elif fence_and_seq == (batch.log.fence, batch.base):
                again.append(batch)
            else:
                batch.log.lose()
        return again

    def _settle(self, batch: Batch) -> None:
        batch.log.settled(batch)
        segment = Segment(batch.base + 1, batch.last, batch.batch, batch.delta_batch)
        self.on_commit(batch.log.thread_id, segment, JournalHead(batch.last, batch.epoch, 1, False))

    # --- The end of a run --------------------------------------------------------------------

    async def finish(
        self,
        log: PostgresJournalLog,
        epoch: int,
        entry: bytes,
        delta: bytes,
        outcome: Outcome,
        files: StoredFiles,
        failure: Failure | None,
    ) -> bool:
        """The finishing transaction, once; False when the lease is someone else's.

        Raises DatabaseUnavailable; called again, it finds out whether it was committed before.
        """
        base, thread_id = log.committed, log.thread_id
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                proposal_id = await connection.fetchval(
                    _FINISH_RUN, thread_id, log.fence, base, epoch, outcome.value
                )
                if proposal_id is None:
                    row = await connection.fetchrow(
                        "SELECT fence, last_seq, status FROM runs WHERE thread_id = $1", thread_id
                    )
                    return row is not None and tuple(row) == (log.fence, base + 1, outcome.value)
                crash_point("in_finish")
                await connection.execute(_FINISH_EVENT, thread_id, base + 1, entry, delta)
                await connection.execute(
                    _FINISH_PROPOSAL,
                    proposal_id,
                    outcome.value,
                    files.generated,
                    files.count,
                    files.rejected,
                    failure.reason if failure else None,
                    failure.message if failure else None,
                )
                crash_point("end_of_finish")
        return True

    async def pack(self, thread_id: UUID) -> None:
        """Repack a finished run's rows into few large ones, which PostgreSQL compresses.

        Readers see either form. Best effort: a journal that stays unpacked is only larger.
        """
        with contextlib.suppress(DatabaseUnavailable), database_errors():
            await self._pool.execute(_PACK, thread_id)

    # --- Reading -----------------------------------------------------------------------------

    async def heads(self, thread_ids: Sequence[UUID]) -> Mapping[UUID, JournalHead]:
        """Where the journals stand; a thread without one is left out."""
        with database_errors():
            rows = await self._pool.fetch(
                f"SELECT thread_id, last_seq, epoch, floor, status NOT IN {_LIVE} AS terminal "  # noqa: S608
                "FROM runs WHERE thread_id = ANY($1::uuid[])",
                list(thread_ids),
            )
        return {
            row["thread_id"]: JournalHead(row["last_seq"], row["epoch"], row["floor"], row["terminal"])
            for row in rows
        }

    async def read_after(self, thread_id: UUID, after: int, *, max_bytes: int) -> Sequence[Segment]:
        """Committed segments behind the cursor, in order, without a gap: as many as fit in
        `max_bytes`, at least one if there is any."""
        with database_errors():
            rows = await self._pool.fetch(
                """
                SELECT first_seq, last_seq, batch, residues, terminal FROM (
                  SELECT *, sum(length(batch) + length(residues)) OVER (ORDER BY first_seq) AS size
                  FROM (
                    SELECT * FROM events WHERE thread_id = $1 AND last_seq > $2
                    ORDER BY first_seq LIMIT 256
                  ) AS next
                ) AS sized
                WHERE size - length(batch) - length(residues) < $3
                ORDER BY first_seq
                """,
                thread_id,
                after,
                max_bytes,
            )
        return [
            Segment(
                row["first_seq"], row["last_seq"], row["batch"], row["residues"], terminal=row["terminal"]
            )
            for row in rows
        ]


def _columns(batches: list[Batch]) -> tuple[list[object], ...]:
    """The batches as the columns of the append statement."""
    return (
        [batch.log.thread_id for batch in batches],
        [batch.log.fence for batch in batches],
        [batch.base for batch in batches],
        [batch.last for batch in batches],
        [batch.epoch for batch in batches],
        [batch.batch for batch in batches],
        [batch.delta_batch for batch in batches],
    )
