"""Idempotency keys: which start of a refinement a key belongs to.

A start stores its key in the statement that stores its other rows (`server.db.proposals`).
"""

from __future__ import annotations

import asyncpg

from server.db.errors import database_errors
from server.domain.model import IdempotencyKey, Principal
from server.domain.proposals.store import EarlierStart

#: Failures of runs that the runtime did not accept. Their start returned an error, so the same request with
#: the same key starts a new run.
NOT_ACCEPTED = ["runtime_refused", "runtime_unavailable", "invoke_uncertain"]

_EARLIER = """
SELECT k.request_sha256, k.thread_id, r.proposal_id, r.created_at,
  r.status NOT IN ('pending', 'invoking') AND NOT n.never AS accepted,
  k.expires_at < now() OR n.never AS key_reusable
FROM idempotency_keys k JOIN runs r ON r.thread_id = k.thread_id JOIN proposals p ON p.id = r.proposal_id,
  LATERAL (SELECT p.failure_reason IS NOT NULL AND p.failure_reason = ANY($4::text[]) AS never) n
WHERE k.user_id = $1 AND k.route = $2 AND k.key = $3
"""


async def find_earlier_start(
    pool: asyncpg.Pool, principal: Principal, key: IdempotencyKey
) -> EarlierStart | None:
    """The start that the principal's key belongs to, or belonged to; None when the key was never used.

    Raises DatabaseUnavailable.
    """
    with database_errors():
        row = await pool.fetchrow(_EARLIER, principal.user_id, key.route, key.key, NOT_ACCEPTED)
    return None if row is None else EarlierStart(**row)
