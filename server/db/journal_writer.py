"""A writer of the journal: group commit without a timer. A process has two: one for large events alone.

1. Only committed segments are published.
2. Each commit takes the events of all runs that arrived during the previous one, up to a limit.
3. One statement checks the fence and moves `last_seq` from the value that the writer knows to the new one.
   For a run whose row does not match, nothing is written. A run and its fence name a batch everywhere: the
   log of a lost lease and that of its successor may be in one commit.
4. When the connection breaks during a commit, its result is unknown: the writer reads the row again to
   find out. Nothing is written twice and nothing is lost.
5. A commit also renews the lease, when a third of its time has passed.
6. A database that comes back without its newest commits gets them again, as readers have them.
7. A fault costs the run that causes it, never the others of its commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial

from server.db.commit_statements import (
    APPEND_ONE,
    FEW,
    POSITIONS,
    indexes_of,
    interval,
    parameters_of,
    statement_of,
)
from server.db.dedicated_connection import DedicatedConnection
from server.db.errors import database_errors
from server.db.pipeline import Outcome
from server.db.pool import BoundedPool
from server.domain.clock import Clock
from server.domain.crash_points import crash_point
from server.domain.errors import DatabaseUnavailable
from server.domain.journal.batch import Batch
from server.domain.journal.journal import CommitListener, JournalHead
from server.domain.journal.log import JournalLog, ReadyLogs
from server.domain.journal.segments import Segment
from server.domain.retry import Backoff

_logger = logging.getLogger(__name__)

#: Seconds for one commit: a single event may be large.
APPEND_S = 10.0
#: Pauses between attempts while the database is away, in seconds.
RETRY_FIRST_S, MAX_RETRY_S = 0.05, 1.0


class JournalWriter:
    """Commits what the logs in a queue hold."""

    def __init__(
        self,
        pool: BoundedPool,
        clock: Clock,
        ready: ReadyLogs,
        *,
        lease_ttl: timedelta,
        listeners: Sequence[CommitListener],
        on_commit_time: Callable[[float, float], None],
    ) -> None:
        """listeners: called with each commit; there may be more later."""
        self._pool, self._clock, self._ready = pool, clock, ready
        #: For `write_forever` alone.
        self._connection = DedicatedConnection(pool, timeout_s=APPEND_S)
        self._lease_ttl, self._lease = lease_ttl, interval(lease_ttl)
        self._listeners, self._on_commit_time = listeners, on_commit_time
        #: What was sent and is not answered, and when, in seconds of the clock's `monotonic`.
        self._batches: list[Batch] = []
        self._began = 0.0
        #: Of `write_forever`: has `_on_filled` called.
        self._go_on_soon: Callable[[], object] | None = None
        #: What `write_forever` has to commit, and the outcome of the first attempt, if there was one.
        self._left: asyncio.Queue[tuple[list[Batch], Outcome | None]] = asyncio.Queue()

    async def write_forever(self) -> None:
        """Commit until cancelled."""
        # In the next turn of the loop, so that what comes in this one is committed together. `asyncio` asks
        # the system for the process each time that it looks for the running loop.
        self._go_on_soon = partial(asyncio.get_running_loop().call_soon, self._on_filled)
        try:
            self._go_on()
            while True:
                batches, outcome = await self._left.get()
                await self._commit(batches, outcome)
                del batches, outcome
                self._go_on()
        finally:
            self._ready.when_filled(None)
            self._connection.close()

    # --- The usual commit: no task wakes for it ----------------------------------------------

    def _go_on(self) -> None:
        """Begin the next commit, or wait for something to commit."""
        batches = self._ready.next_batches()
        if not batches:
            self._ready.when_filled(self._go_on_soon)
            return
        if self._is_usual(batches):
            crash_point("before_append")
            self._batches, self._began = batches, self._clock.monotonic()
            try:
                executions = parameters_of(batches, self._lease)
            except Exception:
                # One of them has something that PostgreSQL has no number for: `_commit` finds out which.
                executions = []
            # Through a pooler nothing is sent: no statement is prepared.
            if executions and self._connection.send(APPEND_ONE, executions, self._on_outcome):
                return
        self._leave(batches)

    def _on_filled(self) -> None:
        try:
            self._go_on()
        except Exception:
            # A fault ends the task, and not only a callback.
            self._leave([])

    def _on_outcome(self, outcome: Outcome) -> None:
        """The answer to what `_go_on` has sent."""
        batches, self._batches = self._batches, []
        if isinstance(outcome, BaseException) or 0 in outcome:
            self._leave(batches, outcome)
            return
        try:
            self._pool.on_answered()
            self._on_answered(batches)
            for batch in batches:
                self._mark_committed(batch)
            self._go_on()
        except Exception:
            self._leave([batch for batch in batches if not batch.settled])

    def _leave(self, batches: list[Batch], outcome: Outcome | None = None) -> None:
        """Leave batches to `write_forever`. outcome: that of their first attempt, if there was one."""
        self._left.put_nowait((batches, outcome))

    def _is_usual(self, batches: list[Batch]) -> bool:
        """Whether the batches are few, and nothing else is to be written with them."""
        if len(batches) > FEW:
            return False
        for batch in batches:  # noqa: SIM110 - for each commit, without a generator
            if batch.outbox or batch.quarantine:
                return False
        return True

    # --- Any commit --------------------------------------------------------------------------

    async def _commit(self, batches: list[Batch], outcome: Outcome | None = None) -> None:
        """Commit the batches. A batch that cannot be committed loses its lease; the others do not.

        outcome: that of the first attempt, if there was one.
        """
        try:
            await self._commit_together(batches, outcome)
        except Exception:
            unsettled = [batch for batch in batches if not batch.settled]
            if len(batches) > 1:
                for batch in unsettled:
                    await self._commit([batch])
                return
            _logger.exception("journal_commit_failed")
            for batch in unsettled:
                batch.log.mark_lost()

    async def _commit_together(self, batches: list[Batch], outcome: Outcome | None) -> None:
        """Commit the batches in one statement, through any number of outages of the database."""
        backoff: Backoff | None = None
        #: Whether the batches may be committed already, or their lease be lost: then the rows are read first.
        uncertain = False
        while batches:
            try:
                if uncertain:
                    batches = await self._reconcile(batches)
                else:
                    first, outcome = outcome, None
                    batches = self._settle(batches, await self._send(batches, first))
                uncertain = not uncertain
            except DatabaseUnavailable:
                uncertain = True
                backoff = backoff or Backoff(RETRY_FIRST_S, MAX_RETRY_S)
                await self._clock.sleep(backoff.next_pause_s())

    async def _send(self, batches: list[Batch], outcome: Outcome | None) -> Sequence[int]:
        """Send the batches once, on the writer's own connection, unless they have an outcome. Returns the
        indexes of those that were committed."""
        with database_errors():
            if isinstance(outcome, BaseException):
                await self._connection.on_failed()
                raise outcome
            if outcome is None:
                crash_point("before_append")
                self._began = self._clock.monotonic()
                if self._pool.pooled or not self._is_usual(batches):
                    statement, arguments = statement_of(batches, self._lease_ttl)
                    return indexes_of(await self._connection.fetch(statement, *arguments))
                executions = parameters_of(batches, self._lease)
                outcome = await self._connection.insert(APPEND_ONE, executions)
            return [index for index, count in enumerate(outcome) if count]

    def _settle(self, batches: list[Batch], moved: Sequence[int]) -> list[Batch]:
        """Mark those of the batches that were committed. Returns those that the database did not accept."""
        self._on_answered(batches)
        refused: list[Batch] = []
        for index, batch in enumerate(batches):
            if index in moved:
                self._mark_committed(batch)
            else:
                refused.append(batch)
        return refused

    def _on_answered(self, batches: list[Batch]) -> None:
        now = self._clock.monotonic()
        put_at = batches[0].put_at if len(batches) == 1 else min([batch.put_at for batch in batches])
        self._on_commit_time(now - self._began, now - put_at)
        crash_point("after_append")

    async def _reconcile(self, batches: list[Batch]) -> list[Batch]:
        """Find out which of the batches were committed. Returns those to send again."""
        with database_errors():
            rows = await self._pool.fetch(POSITIONS, [batch.log.thread_id for batch in batches])
        positions = {row["thread_id"]: (row["fence"], row["last_seq"]) for row in rows}
        again: list[Batch] = []
        behind: list[Batch] = []
        for batch in batches:
            position = positions.get(batch.log.thread_id)
            lost = _lost_by_database(batch.log, batch.base, position)
            if position == (batch.log.fence, batch.last):
                self._mark_committed(batch)
            elif position == (batch.log.fence, batch.base):
                again.append(batch)
            elif lost is not None:
                behind.append(lost)
                again.append(batch)
            else:
                batch.log.mark_lost()
        await self._write_again(behind)
        return again

    async def restore(self, logs: Iterable[JournalLog]) -> None:
        """Write again what the database has lost of these logs: it came back without its newest commits.

        One of which not everything is kept has lost its lease: the run is taken over, and goes on in a new
        epoch. Raises DatabaseUnavailable.
        """
        known = {log.thread_id: (log, log.written) for log in logs}
        if not known:
            return
        with database_errors():
            rows = await self._pool.fetch(POSITIONS, list(known))
        behind: list[Batch] = []
        for row in rows:
            log, written = known[row["thread_id"]]
            position = (row["fence"], row["last_seq"])
            lost = _lost_by_database(log, written, position)
            if lost is not None:
                behind.append(lost)
            elif position[0] == log.fence and position[1] < written:
                _logger.error("commits_lost_for_good: seq %d to %d", position[1] + 1, written)
                log.mark_lost()
        await self._write_again(behind)

    async def _write_again(self, batches: list[Batch]) -> None:
        """Commit again what readers already have. One that the database does not accept may have been written
        again by another task meanwhile: the positions show."""
        if not batches:
            return
        statement, arguments = statement_of(batches, self._lease_ttl)
        with database_errors():
            moved = indexes_of(await self._pool.fetch(statement, *arguments, timeout=APPEND_S))
        for index in moved:
            batch = batches[index]
            _logger.warning("lost_commits_written_again: seq %d to %d", batch.base + 1, batch.last)

    def _mark_committed(self, batch: Batch) -> None:
        log, last = batch.log, batch.last
        log.mark_committed(batch)
        segment = Segment(batch.base + 1, last, batch.event_bytes, batch.delta_bytes)
        # The floor is 1: retention removes events of ended runs alone.
        head = JournalHead(last, batch.epoch, 1, False)
        try:
            for listener in self._listeners:
                listener(log.thread_id, segment, head)
        except Exception:
            # It is committed: readers find it in the journal.
            _logger.exception("commit_listener_failed")


def _lost_by_database(log: JournalLog, known: int, position: tuple[int, int] | None) -> Batch | None:
    """What is missing in the database between its position and the last seq known to be committed; None when
    nothing is, when not all of it is kept, or when the lease is another's."""
    if position is None or position[0] != log.fence or position[1] >= known:
        return None
    return log.committed_after(position[1])
