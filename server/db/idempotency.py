"""Idempotency keys: which start of a refinement a key belongs to.

A start stores its key in the statement that stores its other rows (`server.db.proposals`).
"""

from __future__ import annotations

import asyncpg

from server.db.errors import database_errors
from server.domain.model import NOT_ACCEPTED, IdempotencyKey, Principal
from server.domain.proposals.store import EarlierStart

#: Failures of runs that the runtime did not accept, as the statements of a start take them.
NOT_ACCEPTED_REASONS = [reason.value for reason in NOT_ACCEPTED]

_EARLIER = """
SELECT k.request_sha256, k.thread_id, r.proposal_id, p.created_at,
  r.status NOT IN ('pending', 'invoking') AND NOT n.not_accepted AS accepted,
  k.expires_at < now() OR n.not_accepted AS key_reusable
FROM idempotency_keys k JOIN runs r ON r.thread_id = k.thread_id JOIN proposals p ON p.id = r.proposal_id,
  LATERAL (SELECT p.failure_reason IS NOT NULL AND p.failure_reason = ANY($4::text[]) AS not_accepted) n
WHERE k.user_id = $1 AND k.route = $2 AND k.key = $3
"""


async def find_earlier_start(
    pool: asyncpg.Pool, principal: Principal, key: IdempotencyKey
) -> EarlierStart | None:
    """The start that the principal's key belongs to, or belonged to; None when the key was never used.

    Raises DatabaseUnavailable.
    """
    with database_errors():
        row = await pool.fetchrow(_EARLIER, principal.user_id, key.route, key.key, NOT_ACCEPTED_REASONS)
    return None if row is None else EarlierStart(**row)
