"""The statements of a commit, and their arguments: for `journal_writer`."""

from __future__ import annotations

from datetime import timedelta
from struct import Struct

import asyncpg

from server.db.outbox import ADD_EVENTS, data_of
from server.db.pipeline import LENGTH, parameter
from server.db.quarantine_entries import ADD_KEPT, MARK_PUT_BACK, kept_columns, put_back_columns
from server.db.runs import ACTIVE_STATUSES
from server.domain.journal.batch import Batch
from server.domain.journal.log import JournalLog
from server.domain.webhooks.events import OutboxEvent

#: A lease that lasts longer than this part of its time is left as it is: otherwise each commit would also
#: write the row's entries in all indexes (ADR 0066).
_RENEWED_BELOW = 2 / 3

_LEASE = f"""CASE WHEN r.lease_until > now() + {_RENEWED_BELOW} * $9::interval THEN r.lease_until
    ELSE now() + $9::interval END"""

#: The batch of one run.
APPEND_ONE = f"""
WITH moved AS (
  UPDATE runs r SET last_seq = $4, epoch = $5, lease_until = {_LEASE}
  WHERE r.thread_id = $1 AND r.fence = $2 AND r.last_seq = $3 AND r.status IN {ACTIVE_STATUSES}
  RETURNING r.thread_id
)
INSERT INTO events (thread_id, first_seq, last_seq, batch, residues, file_changes)
SELECT thread_id, $3::int + 1, $4::int, $6::bytea, $7::bytea, $8::bytea FROM moved
"""  # noqa: S608 - only constants
#: It is executed for each of up to so many runs of a commit: for more, PostgreSQL would take longer than for
#: arrays.
FEW = 5
#: Its parameters up to the length of $6, each after its length, and $9: microseconds, days and months.
_PARAMETERS, _INTERVAL = Struct("!i16siqiiiiiii"), Struct("!qii")

_EMPTY = parameter(b"")

#: The same with an array for each parameter. As subqueries the arrays do not show their lengths, so that
#: PostgreSQL plans it once: it would read all runs for some, and plan each commit.
_WRITES = f"""
WITH input AS (
  SELECT * FROM unnest(
    (SELECT $1::uuid[]), (SELECT $2::bigint[]), (SELECT $3::int[]), (SELECT $4::int[]), (SELECT $5::int[]),
    (SELECT $6::bytea[]), (SELECT $7::bytea[]), (SELECT $8::bytea[])
  ) WITH ORDINALITY AS i(thread_id, fence, base, last, epoch, batch, residues, file_changes, number)
), moved AS (
  UPDATE runs r SET last_seq = i.last, epoch = i.epoch, lease_until = {_LEASE}
  FROM input i
  WHERE r.thread_id = i.thread_id AND r.fence = i.fence AND r.last_seq = i.base
    AND r.status IN {ACTIVE_STATUSES}
  RETURNING r.thread_id, r.fence, i.number
), added AS (
  INSERT INTO events (thread_id, first_seq, last_seq, batch, residues, file_changes)
  SELECT i.thread_id, i.base + 1, i.last, i.batch, i.residues, i.file_changes
  FROM input i JOIN moved USING (thread_id, fence)
)"""  # noqa: S608 - only constants
_SELECT_MOVED = "\nSELECT number - 1 FROM moved"
APPEND = _WRITES + _SELECT_MOVED

_OUTBOX_EVENTS = """
SELECT o.id, o.type, o.proposal_id, o.data
FROM unnest($10::uuid[], $11::bigint[], $12::uuid[], $13::text[], $14::uuid[], $15::jsonb[])
  AS o(thread_id, fence, id, type, proposal_id, data) JOIN moved USING (thread_id, fence)
"""
#: The same, where some of the events are also reported, or frames in quarantine: the outbox and the
#: quarantine get those of the runs that moved.
_APPEND_WITH_MORE = (
    f"{_WRITES}, reported AS ({ADD_EVENTS.format(_OUTBOX_EVENTS)}),"
    f" kept AS ({ADD_KEPT}), put_back AS ({MARK_PUT_BACK}){_SELECT_MOVED}"
)

POSITIONS = f"""
SELECT thread_id, fence, last_seq FROM runs
WHERE thread_id = ANY($1::uuid[]) AND status IN {ACTIVE_STATUSES}
"""  # noqa: S608 - only constants


def indexes_of(rows: list[asyncpg.Record]) -> list[int]:
    """Those of the batches that were committed, as the statement gives them."""
    return [row[0] for row in rows]


def statement_of(batches: list[Batch], lease_ttl: timedelta) -> tuple[str, tuple[object, ...]]:
    """The statement that commits any batches, and its arguments."""
    reported = [(batch.log, event) for batch in batches for event in batch.outbox]
    entries = [(batch.log, entry) for batch in batches for entry in batch.quarantine]
    if not reported and not entries:
        return APPEND, (*_columns(batches), lease_ttl)
    more = (*_outbox_columns(reported), *kept_columns(entries), *put_back_columns(entries))
    return _APPEND_WITH_MORE, (*_columns(batches), lease_ttl, *more)


def parameters_of(batches: list[Batch], lease: bytes) -> list[bytes]:
    """Each batch as the parameters of APPEND_ONE. lease: its time, as `interval`."""
    executions: list[bytes] = []
    pack, length = _PARAMETERS.pack, LENGTH.pack
    for batch in batches:
        log, events, deltas, changes = batch.log, batch.event_bytes, batch.delta_bytes, batch.file_changes
        of_row = 16, log.thread_bytes, 8, log.fence, 4, batch.base, 4, batch.last, 4, batch.epoch
        parts = (
            pack(*of_row, len(events)),
            events,
            length(len(deltas)),
            deltas,
            parameter(changes) if changes else _EMPTY,
            lease,
        )
        executions.append(b"".join(parts))
    return executions


def interval(time: timedelta) -> bytes:
    """A time as a parameter in binary form."""
    return parameter(_INTERVAL.pack(time // timedelta(microseconds=1), 0, 0))


def _row(batch: Batch) -> tuple[object, ...]:
    """A batch as the first arguments of the append statement, each in an array."""
    return (
        batch.log.thread_id,
        batch.log.fence,
        batch.base,
        batch.last,
        batch.epoch,
        batch.event_bytes,
        batch.delta_bytes,
        batch.file_changes,
    )


def _columns(batches: list[Batch]) -> list[list[object]]:
    """The same for some batches."""
    return list(map(list, zip(*map(_row, batches), strict=True)))


def _outbox_columns(reported: list[tuple[JournalLog, OutboxEvent]]) -> tuple[list[object], ...]:
    """What goes into the outbox, as the columns of the append statement."""
    return (
        [log.thread_id for log, _ in reported],
        [log.fence for log, _ in reported],
        [event.id for _, event in reported],
        [event.type.value for _, event in reported],
        [event.proposal_id for _, event in reported],
        [data_of(event) for _, event in reported],
    )
