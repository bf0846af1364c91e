"""Refinements of one draft at the same time: which there are, and which of them a queued one waits for.

SQL (ADR 0003): a start that may not simply run beside others locks the draft while it decides.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from server.domain.drafts.busy import WhenBusy
from server.domain.errors import DraftBusy, PermissionDenied
from server.domain.model import Principal

#: Statuses of proposals whose refinement has not ended, as an SQL list.
UNFINISHED = "('queued', 'processing', 'awaiting_input')"

#: The proposals `b` whose refinements must end before that of the queued proposal `p` begins: those of its
#: draft that are not queued, or are ahead of it in the queue.
_BEFORE = f"""
FROM proposals b
WHERE b.draft_id = p.draft_id AND b.id <> p.id AND b.status IN {UNFINISHED}
  AND (b.status <> 'queued' OR b.queue_number < p.queue_number)
"""

#: Whether the queued run of the proposal `p` may begin.
MAY_BEGIN = f"NOT EXISTS (SELECT {_BEFORE})"

#: The proposal that `p` waits for, if it is queued: the one right ahead of it in the queue, or else the
#: newest that is not queued.
WAITS_FOR = f"""
CASE WHEN p.status = 'queued' THEN (
  SELECT b.id {_BEFORE}
  ORDER BY b.status = 'queued' DESC, b.queue_number DESC NULLS LAST, b.created_at DESC LIMIT 1
) END
"""

#: Starts that refuse, enqueue or supersede decide about a draft one at a time. Parallel starts do not wait.
_LOCK_DRAFT = "SELECT pg_advisory_xact_lock(hashtextextended('draft ' || $1::uuid::text, 0))"

#: With a limit the view is asked for each of them; a join would read all of the caller's proposals.
_OTHERS = f"""
SELECT p.id AS proposal_id, r.thread_id, a.caller_id IS NOT NULL AS may_see,
  coalesce(a.access_type <> 'viewer', false) AS may_cancel
FROM proposals p JOIN runs r ON r.proposal_id = p.id
LEFT JOIN LATERAL (
  SELECT caller_id, access_type FROM proposal_callers WHERE proposal_id = p.id AND caller_id = $2 LIMIT 1
) AS a ON true
WHERE p.draft_id = $1 AND p.status IN {UNFINISHED} ORDER BY p.created_at DESC, p.id
"""  # noqa: S608 - only constants


async def lock_draft(connection: Any, draft_id: UUID) -> None:
    """Let no other start decide about the draft before the transaction ends."""
    await connection.execute(_LOCK_DRAFT, draft_id)


async def find_others(
    connection: Any, principal: Principal, draft_id: UUID, when_busy: WhenBusy
) -> list[UUID]:
    """The threads of the draft's refinements that have not ended, newest first.

    Raises DraftBusy if there are some and the start is to be refused, PermissionDenied if it is to supersede
    one that the principal may not cancel.
    """
    others = await connection.fetch(_OTHERS, draft_id, principal.user_id)
    if others and when_busy is WhenBusy.REFUSE:
        raise DraftBusy(next((row["proposal_id"] for row in others if row["may_see"]), None))
    if when_busy is WhenBusy.SUPERSEDE and not all(row["may_cancel"] for row in others):
        raise PermissionDenied("only an owner or editor of all refinements of the draft may supersede them")
    return [row["thread_id"] for row in others]
