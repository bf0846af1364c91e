"""The log of one leased run: a passive queue of events between the run and the writers of the journal.

The run puts events in and waits; a writer takes batches out and marks them committed or lost. A log
calls nobody: it only announces itself in `CommitQueues`, where the writers look for work.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from server.domain.byte_budget import ByteBudget
from server.domain.clock import Clock
from server.domain.errors import LeaseLost
from server.domain.journal.batch import Batch, joined
from server.domain.journal.recent_commits import RecentCommits
from server.domain.quarantine.entries import QuarantineEntry
from server.domain.runs.lease import Lease
from server.domain.webhooks.events import OutboxEvent
from server.encoding.event_batch import delimited_delta

#: Largest batch of a run in bytes (`Batch.commit_bytes`), unless a single event is larger.
BATCH_BYTES = 256 << 10
#: Bytes of a commit's batches before the last one: what runs at full speed bring in a turn of the event loop,
#: which sees the answer to a commit once.
COMMIT_BYTES = 1 << 20


class ReadyLogs:
    """The logs that have something to commit, oldest first. A log is here until a batch is taken off it, and
    again once that is committed."""

    def __init__(self) -> None:
        self._logs: dict[JournalLog, None] = {}
        #: Of the writer, while it waits.
        self._on_filled: Callable[[], object] | None = None

    def add(self, log: JournalLog) -> None:
        """Add a log at the end, unless it is already here."""
        self._logs[log] = None
        on_filled = self._on_filled
        if on_filled is not None:
            self._on_filled = None
            on_filled()

    def when_filled(self, call: Callable[[], object] | None) -> None:
        """Have this called once, as soon as there is a log; None: nothing. For one writer."""
        self._on_filled = call

    def next_batches(self, max_bytes: int = COMMIT_BYTES) -> list[Batch]:
        """Batches from each log in turn, up to `max_bytes` in total, or what the last one has more; none
        has more than `BATCH_BYTES`, except for a single event."""
        batches: list[Batch] = []
        left = max_bytes
        for log in list(self._logs):
            del self._logs[log]
            if log.lost:
                continue
            batch = log.next_batch(left)
            batches.append(batch)
            left -= batch.commit_bytes
            if left <= 0:
                break
        return batches


class CommitQueues:
    """The logs of a process, by what they have to commit next. A commit of events above `BATCH_BYTES` may
    take seconds: with a writer of their own, these do not keep the events of other runs waiting."""

    def __init__(self) -> None:
        self.small, self.large = ReadyLogs(), ReadyLogs()


class JournalLog:
    """The open journal of a leased run. One run puts, one writer takes."""

    def __init__(
        self,
        lease: Lease,
        queues: CommitQueues,
        clock: Clock,
        *,
        max_queued_bytes: int,
        budget: ByteBudget,
        recent: RecentCommits,
    ) -> None:
        self.thread_id, self.thread_bytes = lease.thread_id, lease.thread_id.bytes
        self.proposal_id, self.fence = lease.proposal_id, lease.fence
        #: Whether nothing more is written under this lease.
        self.lost = False
        #: Seq of the last committed event.
        self.committed = lease.last_seq
        #: Seq of the last event put, committed or not.
        self.last_seq = lease.last_seq
        #: Epoch of the last committed event.
        self.epoch = lease.epoch
        #: Bytes that were put, and those of them that are not committed.
        self.put_bytes = self.queued_bytes = 0
        #: Whether more than `max_queued_bytes` are not committed.
        self.is_full = False
        self._max_queued_bytes = max_queued_bytes
        self._budget = budget
        self._queues = queues
        #: Whether a batch is being committed: the next one continues it.
        self._committing = False
        self._clock = clock
        self._recent = recent
        self._finished = False
        #: What was put and is not committed yet, as it was put.
        self._queue: deque[Batch] = deque()
        self._changed = asyncio.Event()
        #: How many wait for it.
        self._waiting = 0

    # --- For the run -------------------------------------------------------------------------

    def put(
        self,
        entry: bytes,
        delta: bytes,
        *,
        epoch: int,
        file_changes: bytes = b"",
        outbox: OutboxEvent | None = None,
        quarantine: QuarantineEntry | None = None,
    ) -> None:
        """Queue event `last_seq + 1` for the next commit, with its entries of the index of changed files, and
        with what goes into the outbox and the quarantine. entry: the event as an entry of an `EventBatch`.

        Raises LeaseLost.
        """
        self.put_all(
            entry,
            delimited_delta(delta),
            1,
            epoch,
            file_changes,
            () if outbox is None else (outbox,),
            () if quarantine is None else (quarantine,),
        )

    def put_all(
        self,
        entries: bytes,
        deltas: bytes,
        count: int,
        epoch: int,
        file_changes: bytes = b"",
        outbox: tuple[OutboxEvent, ...] = (),
        quarantine: tuple[QuarantineEntry, ...] = (),
    ) -> None:
        """Queue the next events, few and small ones, to be committed together. entries: of an `EventBatch`.
        deltas: entries, too. count: of the events. Raises LeaseLost."""
        if self.lost:
            raise LeaseLost
        base, put_at = self.last_seq, self._clock.monotonic()
        self.last_seq = last = base + count
        size_bytes = len(entries) + len(deltas) + len(file_changes)
        queue = self._queue
        queue.append(
            Batch(
                self,
                base,
                last,
                size_bytes,
                entries,
                deltas,
                file_changes,
                epoch,
                put_at,
                outbox,
                quarantine,
            )
        )
        self.put_bytes += size_bytes
        self.queued_bytes = queued_bytes = self.queued_bytes + size_bytes
        self.is_full = queued_bytes > self._max_queued_bytes
        self._budget.add(size_bytes)
        if len(queue) == 1 and not self._committing:
            (self._queues.large if size_bytes > BATCH_BYTES else self._queues.small).add(self)

    async def wait_for_capacity(self) -> None:
        """Wait until at most `max_queued_bytes` are queued. Raises LeaseLost."""
        while self.is_full and not self.lost:
            await self._wait()
        self._check_lease()

    async def flush(self) -> None:
        """Wait until everything put is committed. Raises LeaseLost."""
        while self.committed < self.last_seq and not self.lost:
            await self._wait()
        self._check_lease()

    async def _wait(self) -> None:
        self._waiting += 1
        try:
            await self._changed.wait()
        finally:
            self._waiting -= 1

    def _check_lease(self) -> None:
        if self.lost:
            raise LeaseLost

    # --- For the writer ----------------------------------------------------------------------

    def next_batch(self, max_bytes: int) -> Batch:
        """The next events to commit: as many as fit, at least one. The next batch waits for their commit."""
        self._committing = True
        queue = self._queue
        batch = queue.popleft()
        if not queue:
            return batch
        batches, commit_bytes = [batch], batch.commit_bytes
        max_bytes = min(max_bytes, BATCH_BYTES)
        while queue and (commit_bytes := commit_bytes + queue[0].commit_bytes) <= max_bytes:
            batches.append(queue.popleft())
        return joined(batches) if len(batches) > 1 else batch

    def mark_committed(self, batch: Batch) -> None:
        """Take this batch off the queued bytes: it is committed."""
        self.committed = batch.last
        self.epoch = batch.epoch
        self._committing = False
        if not self.lost:
            self._recent.add(batch)
            size_bytes = batch.size_bytes
            self.queued_bytes = queued_bytes = self.queued_bytes - size_bytes
            self.is_full = queued_bytes > self._max_queued_bytes
            self._budget.release(size_bytes)
            if self._queue:
                next_bytes = self._queue[0].size_bytes
                (self._queues.large if next_bytes > BATCH_BYTES else self._queues.small).add(self)
        if self._waiting:
            self._wake_waiters()

    @property
    def written(self) -> int:
        """Seq of the last committed event that was queued: the terminal event is not."""
        return self.committed - self._finished

    def committed_after(self, seq: int) -> Batch | None:
        """What was committed after `seq`, without the terminal event, to be written again where a database
        lost it; None when not all of it is kept, or nothing was."""
        return self._recent.after(seq)

    def mark_finished(self) -> None:
        """Count the terminal event, which is committed after all others and is never queued."""
        self.committed += 1
        self.last_seq = self.committed
        self._finished = True

    def forget(self) -> None:
        """Keep nothing of what was committed."""
        self._recent.clear()

    def mark_lost(self) -> None:
        """Drop what is queued: the lease is lost, or nobody drives the run under it any more."""
        self.lost = True
        self._queue.clear()
        if not self._finished:
            self.forget()
        queued_bytes, self.queued_bytes, self.is_full = self.queued_bytes, 0, False
        self._budget.release(queued_bytes)
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        self._changed.set()
        self._changed.clear()
