"""The quarantine in PostgreSQL: what is noted about frames that are kept uninterpreted.

SQL (ADR 0003): groups with counts by outcome. The writers of the journal note frames with their events
(`server.db.quarantine_entries`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.errors import database_errors
from server.db.page_tokens import FRAMES, SCAN, event_place, event_token, shape_place, shape_token
from server.db.runs import ENDED_STATUSES
from server.domain.model import Page
from server.domain.quarantine.entries import Kept, Release
from server.domain.quarantine.store import DueReleases, Group, KeptFrame, QuarantineStore

#: Frames that a run releases in one go, oldest first.
_MAX_DUE = 1000

_GROUPS = """
SELECT shape_id, min(reason) AS reason, min(event_type) AS event_type, min(structure) AS structure,
  count(*) AS count, count(*) FILTER (WHERE outcome IS NULL) AS waiting, count(DISTINCT thread_id) AS runs,
  sum(size_bytes) AS size_bytes, min(kept_at) AS first_at, max(kept_at) AS last_at,
  (array_agg(thread_id ORDER BY outcome IS NOT NULL, kept_at, thread_id, seq))[1] AS thread_id,
  (array_agg(seq ORDER BY outcome IS NOT NULL, kept_at, thread_id, seq))[1] AS seq,
  count(*) FILTER (WHERE outcome = 'journalled') AS journalled,
  count(*) FILTER (WHERE outcome = 'superseded') AS superseded,
  count(*) FILTER (WHERE outcome = 'reported') AS reported
FROM quarantined_frames {where}
GROUP BY shape_id {having}
ORDER BY last_at DESC, shape_id LIMIT $1
"""
_PAGE = """
HAVING ($2 OR count(*) > count(outcome))
  AND ($3::timestamptz IS NULL OR max(kept_at) < $3 OR (max(kept_at) = $3 AND shape_id > $4))
"""

_FRAMES = f"""
SELECT q.thread_id, q.seq, q.kept_at, q.release_requested_at IS NOT NULL AS requested, q.outcome,
  q.outcome_seq, coalesce(r.status IN {ENDED_STATUSES}, true) AS ended
FROM quarantined_frames q LEFT JOIN runs r USING (thread_id)
WHERE q.shape_id = $1
  AND (NOT $2 OR (q.outcome IS NULL AND coalesce(r.status IN {ENDED_STATUSES}, true)))
  AND ($4::uuid IS NULL OR (q.thread_id, q.seq) > ($4, $5))
ORDER BY q.thread_id, q.seq LIMIT $3
"""  # noqa: S608 - only constants

_ADD = """
INSERT INTO quarantined_frames
  (thread_id, seq, shape_id, reason, event_type, structure, size_bytes, kept_at)
SELECT $1, k.* FROM unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[],
$8::timestamptz[])
  AS k(seq, shape_id, reason, event_type, structure, size_bytes, kept_at)
WHERE EXISTS (SELECT FROM runs r WHERE r.thread_id = $1 AND r.floor <= k.seq)
ON CONFLICT DO NOTHING RETURNING seq
"""

_DUE = """
SELECT
  ARRAY(
    SELECT seq FROM quarantined_frames
    WHERE thread_id = $1 AND release_requested_at IS NOT NULL AND outcome IS NULL ORDER BY seq LIMIT $2
  ) AS seqs,
  ARRAY(
    SELECT outcome_seq FROM quarantined_frames WHERE thread_id = $1 AND outcome_seq IS NOT NULL
  ) AS put_back
"""

_REQUEST = f"""
WITH requested AS (
  UPDATE quarantined_frames q SET release_requested_at = now()
  FROM runs r WHERE r.thread_id = q.thread_id AND r.status NOT IN {ENDED_STATUSES}
    AND q.shape_id = $1 AND q.outcome IS NULL
  RETURNING 1
)
SELECT count(*) FROM requested
"""  # noqa: S608 - only constants


class PostgresQuarantineStore(QuarantineStore):
    """The quarantine of all runs."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @override
    async def due(self, thread_id: UUID) -> DueReleases:
        with database_errors():
            row = await self._pool.fetchrow(_DUE, thread_id, _MAX_DUE)
        return DueReleases(row["seqs"], row["put_back"])

    @override
    async def note(self, thread_id: UUID, seq: int, outcome: Release | None) -> None:
        with database_errors():
            await self._pool.execute(
                "UPDATE quarantined_frames SET outcome = $3, release_requested_at = NULL"
                " WHERE thread_id = $1 AND seq = $2 AND outcome IS NULL",
                thread_id,
                seq,
                outcome,
            )

    @override
    async def groups(self, *, handled: bool, limit: int, token: str | None = None) -> Page:
        place = (None, None) if token is None else shape_place(token)
        with database_errors():
            rows = await self._pool.fetch(_GROUPS.format(where="", having=_PAGE), limit + 1, handled, *place)
        shown = tuple(_group(row) for row in rows[:limit])
        more = len(rows) > limit
        return Page(shown, shape_token(shown[-1].last_at, shown[-1].shape_id) if more else None)

    @override
    async def group(self, shape_id: str) -> Group | None:
        with database_errors():
            row = await self._pool.fetchrow(
                _GROUPS.format(where="WHERE shape_id = $2", having=""), 1, shape_id
            )
        return None if row is None else _group(row)

    @override
    async def frames(
        self, shape_id: str, *, reportable: bool = False, limit: int, token: str | None = None
    ) -> Page:
        place = (None, None) if token is None else event_place(FRAMES, token)
        with database_errors():
            rows = await self._pool.fetch(_FRAMES, shape_id, reportable, limit + 1, *place)
        shown = tuple(_frame(row) for row in rows[:limit])
        return Page(shown, self.frame_token(shown[-1]) if len(rows) > limit else None)

    @override
    def frame_token(self, frame: KeptFrame) -> str:
        return event_token(FRAMES, frame.thread_id, frame.seq)

    @override
    async def request_release(self, shape_id: str) -> int:
        with database_errors():
            return int(await self._pool.fetchval(_REQUEST, shape_id))

    @override
    async def thread_after(self, thread_id: UUID | None) -> UUID | None:
        with database_errors():
            found: UUID | None = await self._pool.fetchval(
                "SELECT thread_id FROM runs WHERE NOT emptied AND ($1::uuid IS NULL OR thread_id > $1)"
                " ORDER BY thread_id LIMIT 1",
                thread_id,
            )
        return found

    @override
    def scan_token(self, thread_id: UUID, seq: int) -> str:
        return event_token(SCAN, thread_id, seq)

    @override
    def scan_place(self, token: str) -> tuple[UUID, int]:
        return event_place(SCAN, token)

    @override
    async def add(self, thread_id: UUID, kept: Sequence[tuple[Kept, datetime]]) -> int:
        with database_errors():
            rows = await self._pool.fetch(
                _ADD,
                thread_id,
                [frame.seq for frame, _ in kept],
                [frame.shape.id for frame, _ in kept],
                [frame.shape.reason.name.lower() for frame, _ in kept],
                [frame.shape.event_type for frame, _ in kept],
                [frame.shape.structure for frame, _ in kept],
                [frame.size_bytes for frame, _ in kept],
                [time for _, time in kept],
            )
        return len(rows)

    @override
    async def count_waiting(self) -> tuple[int, int]:
        with database_errors():
            row = await self._pool.fetchrow(
                "SELECT count(*) AS frames, count(DISTINCT shape_id) AS shapes FROM quarantined_frames"
                " WHERE outcome IS NULL"
            )
        return row["frames"], row["shapes"]


def _group(row: Any) -> Group:
    return Group(
        row["shape_id"],
        row["reason"],
        row["event_type"],
        row["structure"],
        row["count"],
        row["waiting"],
        row["runs"],
        int(row["size_bytes"]),
        row["first_at"],
        row["last_at"],
        (row["thread_id"], row["seq"]),
        tuple((outcome, row[outcome.value]) for outcome in Release if row[outcome.value]),
    )


def _frame(row: Any) -> KeptFrame:
    return KeptFrame(
        row["thread_id"],
        row["seq"],
        row["kept_at"],
        ended=row["ended"],
        requested=row["requested"],
        outcome=None if row["outcome"] is None else Release(row["outcome"]),
        outcome_seq=row["outcome_seq"],
    )
