"""What the writers of the journal note in the quarantine, as parts of their statement.

Both are for the runs that the statement moves, its common table `moved`. Frames that are noted again, as
where a database lost the commit, stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.domain.journal.log import JournalLog
from server.domain.quarantine.entries import Kept, PutBack, QuarantineEntry, Release

#: The frames of `kept_columns`, whose arguments are $16 to $23.
ADD_KEPT = """
INSERT INTO quarantined_frames (thread_id, seq, shape_id, reason, event_type, structure, size_bytes)
SELECT k.thread_id, k.seq, k.shape_id, k.reason, k.event_type, k.structure, k.size_bytes
FROM unnest($16::uuid[], $17::bigint[], $18::int[], $19::text[], $20::text[], $21::text[], $22::text[],
$23::int[])
  AS k(thread_id, fence, seq, shape_id, reason, event_type, structure, size_bytes)
JOIN moved USING (thread_id, fence)
ON CONFLICT DO NOTHING
"""
#: The frames of `put_back_columns`, whose arguments are $24 to $27.
MARK_PUT_BACK = f"""
UPDATE quarantined_frames f SET outcome = '{Release.JOURNALLED}', outcome_seq = b.at, release_requested_at =
NULL FROM unnest($24::uuid[], $25::bigint[], $26::int[], $27::int[]) AS b(thread_id, fence, seq, at)
JOIN moved USING (thread_id, fence)
WHERE f.thread_id = b.thread_id AND f.seq = b.seq
"""  # noqa: S608 - only constants


def kept_columns(entries: Sequence[tuple[JournalLog, QuarantineEntry]]) -> tuple[list[object], ...]:
    """The columns of `ADD_KEPT`."""
    kept = [(log, entry) for log, entry in entries if isinstance(entry, Kept)]
    return (
        [log.thread_id for log, _ in kept],
        [log.fence for log, _ in kept],
        [entry.seq for _, entry in kept],
        [entry.shape.id for _, entry in kept],
        [entry.shape.reason.name.lower() for _, entry in kept],
        [entry.shape.event_type for _, entry in kept],
        [entry.shape.structure for _, entry in kept],
        [entry.size_bytes for _, entry in kept],
    )


def put_back_columns(entries: Sequence[tuple[JournalLog, QuarantineEntry]]) -> tuple[list[object], ...]:
    """The columns of `MARK_PUT_BACK`."""
    back = [(log, entry) for log, entry in entries if isinstance(entry, PutBack)]
    return (
        [log.thread_id for log, _ in back],
        [log.fence for log, _ in back],
        [entry.seq for _, entry in back],
        [entry.at for _, entry in back],
    )
