"""The journal in PostgreSQL: reading, the end of a run, and this process's writers (`journal_writer`)."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.compaction import Compaction
from server.db.errors import database_errors
from server.db.file_json import StoredFiles
from server.db.journal_writer import MAX_RETRY_S, RETRY_FIRST_S, JournalWriter
from server.db.run_ends import FINISH_S, MAX_FINISH_S, RecentEnds, RunEnd
from server.db.runs import ENDED_STATUSES
from server.domain.byte_budget import ByteBudget
from server.domain.clock import Clock
from server.domain.crash_points import crash_point
from server.domain.errors import DatabaseUnavailable, LeaseLost
from server.domain.journal.events import Outcome
from server.domain.journal.journal import CommitListener, Journal, JournalHead, SegmentTooLarge
from server.domain.journal.log import CommitQueues, JournalLog, ReadyLogs
from server.domain.journal.recent_commits import RESTORE_S, RecentBudget, RecentCommits
from server.domain.journal.segments import Segment
from server.domain.model import Failure
from server.domain.off_loop import RUNS
from server.domain.proposals.partition import ProposalFiles
from server.domain.retry import Backoff, retry_while_unavailable
from server.domain.runs.lease import Lease
from server.encoding.event_batch import delimited_delta, delimited_event

_HEADS = f"""
SELECT thread_id, last_seq, epoch, floor, status IN {ENDED_STATUSES} AS terminal
FROM runs WHERE thread_id = ANY($1::uuid[])
"""  # noqa: S608 - only constants

#: If the first row is larger than $4 bytes, its columns are NULL and only `size` is set.
_READ_AFTER = """
SELECT first_seq, last_seq, size, terminal,
  CASE WHEN size <= $4 OR NOT first THEN batch END AS batch,
  CASE WHEN size <= $4 OR NOT first THEN residues END AS residues
FROM (
  SELECT *, sum(length(batch) + length(residues)) OVER ordered AS size, row_number() OVER ordered = 1 AS first
  FROM (
    SELECT * FROM events WHERE thread_id = $1 AND last_seq > $2
    ORDER BY first_seq LIMIT 256
  ) AS next WINDOW ordered AS (ORDER BY first_seq)
) AS sized
WHERE size <= $3 OR first
ORDER BY first_seq
"""
#: More than a row can have.
_ANY_SIZE = 1 << 62


class PostgresJournal(Journal):
    """The journals of all threads, with the writers of this process."""

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
        #: Called when a run has ended and others of its draft are queued.
        self.on_queue: Callable[[], None] = lambda: None
        self._max_queued_bytes = max_queued_bytes
        self._budget = budget or ByteBudget()
        self._queues = CommitQueues()
        self._logs: weakref.WeakSet[JournalLog] = weakref.WeakSet()
        self._listeners: list[CommitListener] = []
        self._recent_budget = RecentBudget(clock)
        self._recent_ends = RecentEnds(clock)
        self._compaction = Compaction(pool)

        def writer(queue: ReadyLogs) -> JournalWriter:
            return JournalWriter(
                pool,
                clock,
                queue,
                lease_ttl=timedelta(seconds=lease_ttl_s),
                listeners=self._listeners,
                on_commit_time=on_commit_time,
            )

        self._writer, self._large_writer = writer(self._queues.small), writer(self._queues.large)

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[asyncio.Task[None]]:
        """Run the writers until the block ends; events that are still queued then are dropped, and what has
        ended is compacted no more.

        Yields their task. It ends before the block only because of a fault; then nothing is committed
        any more.
        """
        writer = asyncio.create_task(self._write_forever(), name="journal writer")
        try:
            yield writer
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write_forever(self) -> None:
        async with asyncio.TaskGroup() as writers:
            writers.create_task(self._writer.write_forever())
            writers.create_task(self._large_writer.write_forever())
            writers.create_task(self._compaction.compact_forever())

    @override
    def subscribe(self, listener: CommitListener) -> None:
        self._listeners.append(listener)

    @override
    def open(self, lease: Lease) -> JournalLog:
        log = JournalLog(
            lease,
            self._queues,
            self._clock,
            max_queued_bytes=self._max_queued_bytes,
            budget=self._budget,
            recent=RecentCommits(self._recent_budget),
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
        with self._compaction.ending():
            await log.flush()
            stored = await RUNS.run_unless_small(files.sizes, StoredFiles.of, files)
            event_entry, delta_entry = delimited_event(event), delimited_delta(delta)
            end = RunEnd(
                log,
                log.committed,
                event_entry,
                delta_entry,
                outcome,
                stored,
                files.contents,
                failure,
                self.on_queue,
            )
            ended = await self._commit_end(end)
        if not ended:
            log.mark_lost()
            raise LeaseLost
        crash_point("after_finish")
        log.mark_finished()
        self._recent_ends.add(end)
        segment = Segment(log.committed, log.committed, event_entry, delta_entry, terminal=True)
        # The floor is 1: retention removes events of ended runs alone, long after their end.
        head = JournalHead(last_seq=log.committed, epoch=log.epoch, floor=1, terminal=True)
        for listener in self._listeners:
            listener(log.thread_id, segment, head)
        self._compaction.add(log.thread_id)

    async def _commit_end(self, end: RunEnd) -> bool:
        """Commit the end of a run, through any number of outages of the database. Returns False when another
        replica holds the lease."""
        timeout_s = FINISH_S

        async def finish_in_place() -> bool:
            nonlocal timeout_s
            began = self._clock.monotonic()
            try:
                # The database may be behind what was flushed: then that comes first.
                if await end.commit(self._pool, timeout_s=timeout_s):
                    return True
                await self._writer.restore([end.log])
                return await end.commit(self._pool, timeout_s=timeout_s)
            except DatabaseUnavailable:
                if self._clock.monotonic() - began >= timeout_s:
                    timeout_s = min(2 * timeout_s, MAX_FINISH_S)
                raise

        return await retry_while_unavailable(
            finish_in_place, self._clock, first_s=RETRY_FIRST_S, max_s=MAX_RETRY_S
        )

    async def restore_forever(self) -> None:
        """`restore_lost_commits` at intervals, and as soon as the database is back after an outage."""
        backoff = Backoff(RETRY_FIRST_S, MAX_RETRY_S)
        while True:
            try:
                await self.restore_lost_commits()
            except DatabaseUnavailable:
                await self._clock.sleep(backoff.next_pause_s())
            else:
                backoff.reset()
                await self._clock.sleep(RESTORE_S)

    async def restore_lost_commits(self) -> None:
        """Write again what the database has lost since it was committed here: events, and ends of runs.

        Cheap when it has not. Raises DatabaseUnavailable.
        """
        self._recent_budget.expire()
        live = [log for log in self._logs if not log.lost]
        await self._writer.restore([*live, *self._recent_ends.logs()])
        for end in await self._recent_ends.lost(self._pool):
            await end.commit(self._pool)

    # --- Reading -----------------------------------------------------------------------------

    @property
    @override
    def seconds_since_reconnect(self) -> float:
        return float(self._pool.seconds_since_reconnect)

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
    async def read_after(
        self, thread_id: UUID, after: int, *, max_bytes: int, max_segment_bytes: int | None = None
    ) -> Sequence[Segment]:
        largest = _ANY_SIZE if max_segment_bytes is None else max_segment_bytes
        with database_errors():
            rows = await self._pool.fetch(_READ_AFTER, thread_id, after, max_bytes, largest)
        if rows and rows[0]["batch"] is None:
            raise SegmentTooLarge(int(rows[0]["size"]))
        return [
            Segment(
                row["first_seq"], row["last_seq"], row["batch"], row["residues"], terminal=row["terminal"]
            )
            for row in rows
        ]
