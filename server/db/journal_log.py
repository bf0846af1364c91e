"""The log of one leased run: events put in order, queued for the process's writer (`server.db.journal`)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from server.db.file_json import StoredFiles, files_to_jsonb, rejected_to_jsonb
from server.domain.crash_points import crash_point
from server.domain.errors import DatabaseUnavailable, LeaseLost
from server.domain.journal.events import Outcome
from server.domain.journal.journal import JournalHead, OnCommit
from server.domain.journal.segments import Segment, framed_delta, framed_event
from server.domain.model import Failure
from server.domain.proposals.files import File
from server.domain.proposals.paths import RejectedFile
from server.domain.runs.lease import Lease

#: Pauses between tries while the database is away, in seconds.
RETRY_FIRST_S, MAX_RETRY_S = 0.05, 1.0


class Writer(Protocol):
    """What a log needs of its journal."""

    on_commit: OnCommit
    #: Bytes a run may have queued before its stream from the runtime is held back.
    max_queued_bytes: int

    def changed(self, log: PostgresJournalLog) -> None:
        """A log has something to commit."""

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
        """The finishing transaction, once; False when the lease is someone else's."""

    async def pack(self, thread_id: UUID) -> None:
        """Repack a finished run's rows."""


@dataclass(slots=True)
class Batch:
    """What one run brings to one commit."""

    log: PostgresJournalLog
    base: int
    last: int
    batch: bytes
    delta_batch: bytes
    epoch: int
    #: When the first of them was put, in seconds of `time.monotonic`.
    put_at: float


class PostgresJournalLog:
    """The open journal of a leased run (ports.JournalLog)."""

    def __init__(self, journal: Writer, lease: Lease) -> None:
        self.thread_id = lease.thread_id
        self.fence = lease.fence
        self.lost = False
        #: Seq of the last event that is committed.
        self.committed = lease.last_seq
        self._journal = journal
        self._epoch = lease.epoch
        self._queue: deque[tuple[bytes, bytes, int]] = deque()
        #: Bytes that were put and are not committed.
        self.queued_bytes = 0
        self._last_seq = lease.last_seq
        self._moved = asyncio.Event()
        #: When the first of what is queued was put; or was left over by the batch before.
        self._put_at = 0.0

    @property
    def last_seq(self) -> int:
        """Seq of the last event put, committed or not."""
        return self._last_seq

    @property
    def waiting(self) -> bool:
        """Whether there is something to commit."""
        return bool(self._queue) and not self.lost

    def put(self, event: bytes, delta: bytes, *, epoch: int) -> None:
        """Queue event `last_seq + 1` for the next commit."""
        entry, kept = framed_event(event), framed_delta(delta)
        if not self._queue:
            self._put_at = time.monotonic()
        self._queue.append((entry, kept, epoch))
        self.queued_bytes += len(entry) + len(kept)
        self._last_seq += 1
        self._journal.changed(self)

    async def room(self) -> None:
        """Wait until what is queued is below its bound. Raises LeaseLost."""
        while self.queued_bytes > self._journal.max_queued_bytes and not self.lost:
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

    def take(self, most_bytes: int) -> Batch:
        """The next events to commit: as many as fit, at least one."""
        entries: list[bytes] = []
        deltas: list[bytes] = []
        size = 0
        epoch = self._epoch
        while self._queue:
            entry, kept, epoch_then = self._queue[0]
            if entries and size + len(entry) + len(kept) > most_bytes:
                break
            self._queue.popleft()
            entries.append(entry)
            deltas.append(kept)
            size += len(entry) + len(kept)
            epoch = epoch_then
        last = self.committed + len(entries)
        put_at, self._put_at = self._put_at, time.monotonic()
        return Batch(self, self.committed, last, b"".join(entries), b"".join(deltas), epoch, put_at)

    def settled(self, batch: Batch) -> None:
        """The batch is committed."""
        self.committed = batch.last
        self._epoch = batch.epoch
        self.queued_bytes -= len(batch.batch) + len(batch.delta_batch)
        self._wake()

    def lose(self) -> None:
        """The lease is someone else's."""
        self.lost = True
        self._queue.clear()
        self.queued_bytes = 0
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved.clear()

    async def finish(
        self,
        event: bytes,
        delta: bytes,
        *,
        outcome: Outcome,
        files: Mapping[str, File],
        rejected: Sequence[RejectedFile] = (),
        failure: Failure | None,
    ) -> None:
        """Commit, in one transaction, the terminal event, the proposal's files and its status.

        Raises LeaseLost. Waits for the database as long as it takes.
        """
        await self.flush()
        self._last_seq += 1
        stored = StoredFiles(files_to_jsonb(files), len(files), rejected_to_jsonb(rejected))
        entry, kept = framed_event(event), framed_delta(delta)
        pause_s = RETRY_FIRST_S
        while True:
            try:
                done = await self._journal.finish(self, self._epoch, entry, kept, outcome, stored, failure)
            except DatabaseUnavailable:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, MAX_RETRY_S)
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
