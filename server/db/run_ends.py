"""The end of a run in PostgreSQL: files, status, terminal event and outbox in one statement, any number of
times.

Ends that were committed a moment ago are kept, to be committed again where a database lost them (ADR 0028).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from server.db.contents import ADD_CONTENTS, NAME_CONTENTS, add_proposal_contents, fit_in_statement
from server.db.errors import database_errors
from server.db.file_json import StoredFiles
from server.db.outbox import ADD_EVENTS, data_of
from server.db.runs import ACTIVE_STATUSES
from server.domain.clock import Clock
from server.domain.journal.events import Outcome
from server.domain.journal.log import JournalLog
from server.domain.journal.recent_commits import KEEP_S
from server.domain.model import Failure, ProposalStatus
from server.domain.webhooks.events import run_finished

#: Seconds for a statement that writes a whole run's files, or moves its whole journal.
FINISH_S = 30.0
#: Upper limit of that timeout, which doubles after each attempt that takes too long; otherwise a slow
#: database would never finish.
MAX_FINISH_S = 240.0
#: Bytes of files that the kept ends of all runs of a process have at most.
MAX_FILE_BYTES = 16 << 20

#: The run, its last event and its proposal with what belongs to that. Gives whether other runs of the draft
#: are queued; no row when the lease is another's. One that is queued at the same time waits for a sweep.
_FINISH = f"""
WITH moved AS (
  UPDATE runs SET last_seq = $3 + 1, epoch = $4, status = $5, finished_at = now(), lease_until = NULL,
    owner = NULL, reply = NULL
  WHERE thread_id = $1 AND fence = $2 AND last_seq = $3 AND status IN {ACTIVE_STATUSES}
  RETURNING proposal_id
), ended AS (
  INSERT INTO events (thread_id, first_seq, last_seq, batch, residues, terminal, file_changes)
  SELECT $1, $3 + 1, $3 + 1, $6, $7, true, '' FROM moved
), finished AS (
  UPDATE proposals SET status = $5, generated_files = $8::jsonb, file_count = $9, rejections = $10::jsonb,
    failure_reason = $11, failure_message = $12, completed_at = now()
  FROM moved WHERE id = moved.proposal_id
), added AS (
  {ADD_CONTENTS.format("moved, unnest($13::bytea[], $14::bytea[]) AS c(sha256, content)")}
), named AS (
  {NAME_CONTENTS.format("proposal_id", "moved, unnest($13::bytea[]) AS h(sha256)")}
), reported AS (
  {ADD_EVENTS.format("SELECT $15::uuid AS id, $16::text AS type, proposal_id, $17::jsonb AS data FROM moved")}
)
SELECT EXISTS (
  SELECT FROM proposals p JOIN proposals n USING (draft_id)
  WHERE p.id = moved.proposal_id AND n.status = 'queued' AND n.id <> p.id)
FROM moved
"""  # noqa: S608 - only constants

#: Runs that are active, though their end was committed under the same fence.
_LOST = """
SELECT e.index FROM runs r JOIN unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS e(thread_id, fence, index)
  ON r.thread_id = e.thread_id AND r.fence = e.fence
WHERE r.finished_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The end of a run. base: seq of the last event before it. event, delta: entries of their batches."""

    log: JournalLog
    base: int
    event: bytes
    delta: bytes
    outcome: Outcome
    files: StoredFiles
    contents: Mapping[str, bytes]
    failure: Failure | None
    #: Called after the commit if other runs of its draft are queued.
    on_queue: Callable[[], None]

    @property
    def size_bytes(self) -> int:
        """Bytes of its files."""
        columns = len(self.files.generated) + len(self.files.rejected or "")
        return columns + sum(len(content) for content in self.contents.values())

    async def commit(self, pool: asyncpg.Pool, *, timeout_s: float = FINISH_S) -> bool:
        """Try the transaction once. Returns False when another replica holds the lease. timeout_s: for each
        of its statements.

        Raises DatabaseUnavailable; called again, it finds out whether it was committed before.
        """
        log, outcome = self.log, self.outcome.value
        event = run_finished(
            log.proposal_id,
            seq=self.base + 1,
            status=ProposalStatus(outcome),
            failure=self.failure,
            file_count=self.files.count,
        )
        fits = fit_in_statement(self.contents)
        names = sorted(self.contents) if fits else ()
        arguments = (
            log.thread_id,
            log.fence,
            self.base,
            log.epoch,
            outcome,
            self.event,
            self.delta,
            self.files.generated,
            self.files.count,
            self.files.rejected,
            self.failure.reason if self.failure else None,
            self.failure.message if self.failure else None,
            [bytes.fromhex(sha256) for sha256 in names],
            [self.contents[sha256] for sha256 in names],
            event.id,
            event.type.value,
            data_of(event),
        )
        with database_errors():
            async with pool.acquire(limit_s=None) as connection:
                if fits:
                    others_queued = await connection.fetchval(_FINISH, *arguments, timeout=timeout_s)
                else:
                    async with connection.transaction():
                        others_queued = await connection.fetchval(_FINISH, *arguments, timeout=timeout_s)
                        if others_queued is not None:
                            await add_proposal_contents(
                                connection, log.proposal_id, self.contents, timeout_s=timeout_s
                            )
                if others_queued is None:
                    row = await connection.fetchrow(
                        "SELECT fence, last_seq, status FROM runs WHERE thread_id = $1", log.thread_id
                    )
                    return row is not None and tuple(row) == (log.fence, self.base + 1, outcome)
        if others_queued:
            self.on_queue()
        return True


class RecentEnds:
    """The ends of this process's runs that were committed within KEEP_S."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: deque[tuple[float, RunEnd]] = deque()
        self._size_bytes = 0

    def add(self, end: RunEnd) -> None:
        """Keep an end that was committed."""
        self._ends.append((self._clock.monotonic(), end))
        self._size_bytes += end.size_bytes
        self._drop_old()

    def logs(self) -> Sequence[JournalLog]:
        """The logs of their runs."""
        return [end.log for _, end in self._ends]

    async def lost(self, pool: asyncpg.Pool) -> Sequence[RunEnd]:
        """The ends that the database does not have. Raises DatabaseUnavailable."""
        ends = [end for _, end in self._ends]
        if not ends:
            return []
        threads, fences = [end.log.thread_id for end in ends], [end.log.fence for end in ends]
        with database_errors():
            rows = await pool.fetch(_LOST, threads, fences)
        # Not before: an outage may last longer than ends are kept.
        self._drop_old()
        return [ends[row["index"] - 1] for row in rows]

    def _drop_old(self) -> None:
        while self._ends and (
            self._ends[0][0] < self._clock.monotonic() - KEEP_S or self._size_bytes > MAX_FILE_BYTES
        ):
            _, end = self._ends.popleft()
            self._size_bytes -= end.size_bytes
            end.log.forget()
