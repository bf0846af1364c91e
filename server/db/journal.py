"""The journal in PostgreSQL: reading, the end of a run, and the writer of this process (`journal_writer`)."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.contents import add_contents
from server.db.errors import database_errors
from server.db.file_json import StoredFiles
from server.db.journal_writer import MAX_RETRY_S, RETRY_FIRST_S, JournalWriter
from server.db.runs import ACTIVE_STATUSES
from server.domain.byte_budget import ByteBudget
from server.domain.clock import Clock
from server.domain.crash_points import crash_point
from server.domain.errors import DatabaseUnavailable, LeaseLost
from server.domain.journal.events import Outcome
from server.domain.journal.journal import CommitListener, Journal, JournalHead
from server.domain.journal.log import JournalLog, ReadyLogs
from server.domain.journal.segments import Segment
from server.domain.model import Failure
from server.domain.proposals.partition import ProposalFiles
from server.domain.retry import retry_while_unavailable
from server.domain.runs.lease import Lease
from server.encoding.event_batch import delimited_delta, delimited_event

#: Bytes of the rows that a finished run's journal is compacted into.
COMPACTED_BYTES = 256 << 10
#: Seconds for a statement that writes a whole run's files, or moves its whole journal.
FINISH_S = 30.0

_FINISH_RUN = f"""
UPDATE runs SET last_seq = $3 + 1, epoch = $4, status = $5, finished_at = now(), lease_until = NULL,
  owner = NULL
WHERE thread_id = $1 AND fence = $2 AND last_seq = $3 AND status IN {ACTIVE_STATUSES}
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

_COMPACT = f"""
WITH old AS (
  DELETE FROM events WHERE thread_id = $1 RETURNING *
), placed AS (
  SELECT *, (sum(length(batch) + length(residues)) OVER (ORDER BY first_seq)) / {COMPACTED_BYTES} AS pack
  FROM old
)
INSERT INTO events (thread_id, first_seq, last_seq, batch, residues, terminal)
SELECT thread_id, min(first_seq), max(last_seq), string_agg(batch, ''::bytea ORDER BY first_seq),
  string_agg(residues, ''::bytea ORDER BY first_seq), bool_or(terminal)
FROM placed GROUP BY thread_id, pack
"""  # noqa: S608 - only constants

_HEADS = f"""
SELECT thread_id, last_seq, epoch, floor, status NOT IN {ACTIVE_STATUSES} AS terminal
FROM runs WHERE thread_id = ANY($1::uuid[])
"""  # noqa: S608 - only constants

_READ_AFTER = """
SELECT first_seq, last_seq, batch, residues, terminal FROM (
  SELECT *, sum(length(batch) + length(residues)) OVER (ORDER BY first_seq) AS size
  FROM (
    SELECT * FROM events WHERE thread_id = $1 AND last_seq > $2
    ORDER BY first_seq LIMIT 256
  ) AS next
) AS sized
WHERE size - length(batch) - length(residues) < $3
ORDER BY first_seq
"""


class PostgresJournal(Journal):
    """The journals of all threads, with the writer of this process."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        *,
        lease_ttl_s: float,
        max_queued_bytes: int = 8 << 20,
        budget: ByteBudget | None = None,
        on_commit_time: Callable[[float, float], None] = lambda seconds, lag_s: None,
    ) -> None:
        """`on_commit_time` gets, in seconds, the duration of each commit and the wait of its oldest event.

        A run may queue `max_queued_bytes` before its stream from the runtime is held back. What all runs
        queue counts in `budget`.
        """
        self._pool, self._clock = pool, clock
        self._max_queued_bytes = max_queued_bytes
        self._budget = budget or ByteBudget()
        self._ready = ReadyLogs()
        self._logs: weakref.WeakSet[JournalLog] = weakref.WeakSet()
        self._listeners: list[CommitListener] = []
        self._writer = JournalWriter(
            pool,
            clock,
            self._ready,
            lease_ttl=timedelta(seconds=lease_ttl_s),
            on_commit=self._publish,
            on_commit_time=on_commit_time,
        )

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[asyncio.Task[None]]:
        """Run the writer until the block ends; events that are still queued then are dropped.

        Yields the writer's task. It ends before the block only because of a fault; then nothing is committed
        any more.
        """
        writer = asyncio.create_task(self._writer.write_forever(), name="journal writer")
        try:
            yield writer
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    @override
    def subscribe(self, listener: CommitListener) -> None:
        self._listeners.append(listener)

    def _publish(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        for listener in self._listeners:
            listener(thread_id, segment, head)

    @override
    def open(self, lease: Lease) -> JournalLog:
        log = JournalLog(
            lease,
            self._ready,
            self._clock,
            max_queued_bytes=self._max_queued_bytes,
            budget=self._budget,
        )
        self._logs.add(log)
        return log

    @property
    def queued_bytes(self) -> int:
        """Bytes of all runs' events that wait to be committed."""
        return sum(log.queued_bytes for log in self._logs)

    # --- The end of a run --------------------------------------------------------------------

    @override
    async def finish(
        self,
        log: JournalLog,
        event: bytes,
        delta: bytes,
        *,
        outcome: Outcome,
        files: ProposalFiles,
        failure: Failure | None,
    ) -> None:
        await log.flush()
        stored = await asyncio.to_thread(StoredFiles.of, files)
        event_entry, delta_entry = delimited_event(event), delimited_delta(delta)
        finish_once = partial(
            self._finish_once, log, event_entry, delta_entry, outcome, stored, files.contents, failure
        )
        if not await retry_while_unavailable(
            finish_once, self._clock, first_s=RETRY_FIRST_S, max_s=MAX_RETRY_S
        ):
            log.mark_lost()
            raise LeaseLost
        crash_point("after_finish")
        log.mark_finished()
        segment = Segment(log.committed, log.committed, event_entry, delta_entry, terminal=True)
        # The floor is 1: retention removes events of ended runs alone, long after their end.
        head = JournalHead(last_seq=log.committed, epoch=log.epoch, floor=1, terminal=True)
        self._publish(log.thread_id, segment, head)
        await self._compact(log.thread_id)
        crash_point("after_compact")

    async def _finish_once(
        self,
        log: JournalLog,
        event_entry: bytes,
        delta_entry: bytes,
        outcome: Outcome,
        files: StoredFiles,
        contents: Mapping[str, bytes],
        failure: Failure | None,
    ) -> bool:
        """Try the finishing transaction once. Returns False when another replica holds the lease.

        Raises DatabaseUnavailable; called again, it finds out whether it was committed before.
        """
        base, thread_id = log.committed, log.thread_id
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction(isolation="read_committed"):
                proposal_id = await connection.fetchval(
                    _FINISH_RUN, thread_id, log.fence, base, log.epoch, outcome.value
                )
                if proposal_id is None:
                    row = await connection.fetchrow(
                        "SELECT fence, last_seq, status FROM runs WHERE thread_id = $1", thread_id
                    )
                    return row is not None and tuple(row) == (log.fence, base + 1, outcome.value)
                crash_point("in_finish")
                await connection.execute(
                    _FINISH_EVENT, thread_id, base + 1, event_entry, delta_entry, timeout=FINISH_S
                )
                await connection.execute(
                    _FINISH_PROPOSAL,
                    proposal_id,
                    outcome.value,
                    files.generated,
                    files.count,
                    files.rejected,
                    failure.reason if failure else None,
                    failure.message if failure else None,
                    timeout=FINISH_S,
                )
                await add_contents(connection, proposal_id, contents)
                crash_point("end_of_finish")
        return True

    async def _compact(self, thread_id: UUID) -> None:
        """Rewrite a finished run's rows as few large ones, which PostgreSQL compresses.

        Readers see either form. Best effort: a journal that is not compacted is only larger.
        """
        with contextlib.suppress(DatabaseUnavailable), database_errors():
            await self._pool.execute(_COMPACT, thread_id, timeout=FINISH_S)

    # --- Reading -----------------------------------------------------------------------------

    @override
    async def heads(self, thread_ids: Sequence[UUID]) -> Mapping[UUID, JournalHead]:
        with database_errors():
            rows = await self._pool.fetch(_HEADS, list(thread_ids))
        return {
            row["thread_id"]: JournalHead(
                last_seq=row["last_seq"], epoch=row["epoch"], floor=row["floor"], terminal=row["terminal"]
            )
            for row in rows
        }

    @override
    async def read_after(self, thread_id: UUID, after: int, *, max_bytes: int) -> Sequence[Segment]:
        with database_errors():
            rows = await self._pool.fetch(_READ_AFTER, thread_id, after, max_bytes)
        return [
            Segment(
                row["first_seq"], row["last_seq"], row["batch"], row["residues"], terminal=row["terminal"]
            )
            for row in rows
        ]
