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
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import asyncpg

from server.db.errors import database_errors
from server.db.file_json import files_to_jsonb
from server.domain.crashpoints import crash_point
from server.domain.errors import DatabaseUnavailable, LeaseLost
from server.domain.events import Outcome
from server.domain.files import File
from server.domain.model import Failure
from server.domain.ports import JournalHead, Lease, OnCommit
from server.domain.segments import Segment, framed_event, framed_residue

_logger = logging.getLogger(__name__)

#: Most bytes of one commit, but for a single event that is larger.
COMMIT_BYTES = 256 << 10
#: Bytes a run may have queued before its stream from the runtime is held back.
ROOM_BYTES = 8 << 20
#: Bytes of the rows that a finished run's journal is repacked into.
PACKED_BYTES = 256 << 10
#: Pauses between tries while the database is away, in seconds.
RETRY_FIRST_S, RETRY_MOST_S = 0.05, 1.0

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
UPDATE proposals SET status = $2, generated_files = $3::jsonb, file_count = $4, failure_reason = $5,
  failure_message = $6, completed_at = now()
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


@dataclass(slots=True)
class _Batch:
    """What one run brings to one commit."""

    log: PostgresJournalLog
    base: int
    last: int
    batch: bytes
    residues: bytes
    epoch: int


class PostgresJournalLog:
    """The open journal of a leased run (ports.JournalLog)."""

    def __init__(self, journal: PostgresJournal, lease: Lease) -> None:
        self.thread_id = lease.thread_id
        self.fence = lease.fence
        self.lost = False
        #: Seq of the last event that is committed.
        self.committed = lease.last_seq
        self._journal = journal
        self._epoch = lease.epoch
        self._queue: deque[tuple[bytes, bytes, int]] = deque()
        self._queued_bytes = 0
        self._last_seq = lease.last_seq
        self._moved = asyncio.Event()

    @property
    def last_seq(self) -> int:
        """Seq of the last event put, committed or not."""
        return self._last_seq

    @property
    def waiting(self) -> bool:
        """Whether there is something to commit."""
        return bool(self._queue) and not self.lost

    def put(self, event: bytes, residue: bytes, *, epoch: int) -> None:
        """Queue event `last_seq + 1` for the next commit."""
        entry, kept = framed_event(event), framed_residue(residue)
        self._queue.append((entry, kept, epoch))
        self._queued_bytes += len(entry) + len(kept)
        self._last_seq += 1
        self._journal.changed(self)

    async def room(self) -> None:
        """Wait until what is queued is below its bound. Raises LeaseLost."""
        while self._queued_bytes > ROOM_BYTES and not self.lost:
            await self._moved.wait()
        self._check()

    async def flush(self) -> None:
        """Wait until all that was put is committed. Raises LeaseLost."""
        while self.committed < self._last_seq and not self.lost:
            await self._moved.wait()
        self._check()

    def _check(self) -> None:
        if self.lost:
            raise LeaseLost

    def take(self, most_bytes: int) -> _Batch:
        """The next events to commit: as many as fit, at least one."""
        entries: list[bytes] = []
        residues: list[bytes] = []
        size = 0
        epoch = self._epoch
        while self._queue:
            entry, kept, epoch_then = self._queue[0]
            if entries and size + len(entry) + len(kept) > most_bytes:
                break
            self._queue.popleft()
            entries.append(entry)
            residues.append(kept)
            size += len(entry) + len(kept)
            epoch = epoch_then
        last = self.committed + len(entries)
        return _Batch(self, self.committed, last, b"".join(entries), b"".join(residues), epoch)

    def settled(self, batch: _Batch) -> None:
        """The batch is committed."""
        self.committed = batch.last
        self._epoch = batch.epoch
        self._queued_bytes -= len(batch.batch) + len(batch.residues)
        self._wake()

    def lose(self) -> None:
        """The lease is someone else's."""
        self.lost = True
        self._queue.clear()
        self._queued_bytes = 0
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved.clear()

    async def finish(
        self,
        event: bytes,
        residue: bytes,
        *,
        outcome: Outcome,
        files: Mapping[str, File],
        failure: Failure | None,
    ) -> None:
        """Commit, in one transaction, the terminal event, the proposal's files and its status.

        Raises LeaseLost. Waits for the database as long as it takes.
        """
        await self.flush()
        self._last_seq += 1
        generated = files_to_jsonb(files)
        entry, kept = framed_event(event), framed_residue(residue)
        pause_s = RETRY_FIRST_S
        while True:
            try:
                done = await self._journal.finish(
                    self, self._epoch, entry, kept, outcome, generated, len(files), failure
                )
            except DatabaseUnavailable:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST_S)
                continue
            if not done:
                self.lose()
                raise LeaseLost
            crash_point("after_finish")
            self.committed += 1
            segment = Segment(self.committed, self.committed, entry, kept, terminal=True)
            self._journal.on_commit(
                self.thread_id, segment, JournalHead(self.committed, self._epoch, 1, True)
            )
            await self._journal.pack(self.thread_id)
            crash_point("after_pack")
            return


class PostgresJournal:
    """The journals of all threads (ports.Journal), with this process's writer."""

    def __init__(self, pool: asyncpg.Pool, *, on_commit: OnCommit, lease_ttl_s: float) -> None:
        self._pool = pool
        self._ttl = timedelta(seconds=lease_ttl_s)
        self.on_commit = on_commit
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
        return PostgresJournalLog(self, lease)

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

    def _collect(self) -> list[_Batch]:
        """The next commit: from each ready log in turn, up to the bound."""
        batches: list[_Batch] = []
        left = COMMIT_BYTES
        for log in list(self._ready):
            del self._ready[log]
            if not log.waiting:
                continue
            batch = log.take(left)
            batches.append(batch)
            left -= len(batch.batch) + len(batch.residues)
            if log.waiting:
                # Behind the others, for the next commit.
                self._ready[log] = None
            if left <= 0:
                break
        if not self._ready:
            self._work.clear()
        return batches

    async def _commit(self, batches: list[_Batch]) -> None:
        """Commit the batches, however often the database goes away meanwhile."""
        pause_s = RETRY_FIRST_S
        while batches:
            try:
                crash_point("before_append")
                with database_errors():
                    rows = await self._pool.fetch(_APPEND, *_columns(batches), self._ttl)
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
                pause_s = min(pause_s * 2, RETRY_MOST_S)
                with contextlib.suppress(DatabaseUnavailable):
                    batches = await self._weigh(batches)
            except Exception:
                # A fault of ours: these runs stop here and are taken up again; the others go on.
                _logger.exception("journal_commit_failed")
                for batch in batches:
                    batch.log.lose()
                return

    async def _weigh(self, batches: list[_Batch]) -> list[_Batch]:
        """Find out which of the batches are committed after all; those to send again."""
        with database_errors():
            rows = await self._pool.fetch(
                f"SELECT thread_id, fence, last_seq FROM runs "  # noqa: S608 - only constants
                f"WHERE thread_id = ANY($1::uuid[]) AND status IN {_LIVE}",
                [batch.log.thread_id for batch in batches],
            )
        stands = {row["thread_id"]: (row["fence"], row["last_seq"]) for row in rows}
        again: list[_Batch] = []
        for batch in batches:
            fence_and_seq = stands.get(batch.log.thread_id)
            if fence_and_seq == (batch.log.fence, batch.last):
                self._settle(batch)
            elif fence_and_seq == (batch.log.fence, batch.base):
                again.append(batch)
            else:
                batch.log.lose()
        return again

    def _settle(self, batch: _Batch) -> None:
        batch.log.settled(batch)
        segment = Segment(batch.base + 1, batch.last, batch.batch, batch.residues)
        self.on_commit(batch.log.thread_id, segment, JournalHead(batch.last, batch.epoch, 1, False))

    # --- The end of a run --------------------------------------------------------------------

    async def finish(
        self,
        log: PostgresJournalLog,
        epoch: int,
        entry: bytes,
        residue: bytes,
        outcome: Outcome,
        generated: str,
        file_count: int,
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
                await connection.execute(_FINISH_EVENT, thread_id, base + 1, entry, residue)
                await connection.execute(
                    _FINISH_PROPOSAL,
                    proposal_id,
                    outcome.value,
                    generated,
                    file_count,
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


def _columns(batches: list[_Batch]) -> tuple[list[object], ...]:
    """The batches as the columns of the append statement."""
    return (
        [batch.log.thread_id for batch in batches],
        [batch.log.fence for batch in batches],
        [batch.base for batch in batches],
        [batch.last for batch in batches],
        [batch.epoch for batch in batches],
        [batch.batch for batch in batches],
        [batch.residues for batch in batches],
    )
