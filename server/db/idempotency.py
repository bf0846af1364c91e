"""Idempotency keys: which start of a refinement, or which other write, a key belongs to.

A start stores its key in the statement that stores its other rows (`server.db.starts`); other writes store
theirs in their transaction.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any
from uuid import UUID

from server.db.errors import database_errors
from server.domain.errors import KeyReused
from server.domain.model import NOT_ACCEPTED, IdempotencyKey, Principal
from server.domain.proposals.store import EarlierStart

#: Failures of runs that the runtime did not accept, as the statements of a start take them.
NOT_ACCEPTED_REASONS = [reason.value for reason in NOT_ACCEPTED]

_EARLIER_START = """
SELECT k.request_sha256, k.thread_id, r.proposal_id, p.created_at,
  r.status NOT IN ('pending', 'invoking') AND NOT n.not_accepted OR n.queued AS accepted,
  k.expires_at < now() OR n.not_accepted AND NOT n.queued AS key_reusable, n.queued
FROM idempotency_keys k JOIN runs r ON r.thread_id = k.thread_id JOIN proposals p ON p.id = r.proposal_id,
  LATERAL (SELECT p.failure_reason IS NOT NULL AND p.failure_reason = ANY($4::text[]) AS not_accepted,
    p.queue_number IS NOT NULL AS queued) n
WHERE k.user_id = $1 AND k.route = $2 AND k.key = $3
"""

_FIND = """
SELECT request_sha256, draft_id, draft_version, proposal_id, webhook_id FROM idempotency_keys
WHERE user_id = $1 AND route = $2 AND key = $3 AND expires_at >= now()
"""

#: Deletes some keys that have expired, except one, with `{}` for that: whatever stores a key deletes ten, so
#: that none stays for long.
DELETE_EXPIRED = """
DELETE FROM idempotency_keys WHERE (user_id, route, key) IN (
  SELECT user_id, route, key FROM idempotency_keys
  WHERE expires_at < now() AND (user_id, route, key) <> ({})
  LIMIT 10 FOR UPDATE SKIP LOCKED)
"""

_STORE = f"""
WITH expired AS ({DELETE_EXPIRED.format("$1, $2, $3")})
INSERT INTO idempotency_keys AS k
  (user_id, route, key, request_sha256, draft_id, draft_version, proposal_id, webhook_id, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + interval '24 hours')
ON CONFLICT (user_id, route, key) DO UPDATE SET request_sha256 = $4, draft_id = $5, draft_version = $6,
  proposal_id = $7, webhook_id = $8, created_at = now(), expires_at = now() + interval '24 hours'
WHERE k.expires_at < now() RETURNING true
"""  # noqa: S608 - only constants


@dataclass(frozen=True, slots=True)
class Written:
    """What a write with a key wrote: a version of a draft, what is decided about a proposal, or a webhook."""

    draft_id: UUID | None = None
    draft_version: int | None = None
    proposal_id: UUID | None = None
    webhook_id: UUID | None = None


async def find_earlier_start(
    connection: Any, principal: Principal, key: IdempotencyKey
) -> EarlierStart | None:
    """The start that the principal's key belongs to, or belonged to; None when the key was never used.

    Reads it on a connection or a pool. Raises DatabaseUnavailable.
    """
    with database_errors():
        row = await connection.fetchrow(
            _EARLIER_START, principal.user_id, key.route, key.key, NOT_ACCEPTED_REASONS
        )
    return None if row is None else EarlierStart(**row)


async def find_written(connection: Any, user_id: UUID, key: IdempotencyKey | None) -> Written | None:
    """What an earlier request wrote under this key; None without a key, or if the key is still free.

    Raises KeyReused when the key belongs to another request.
    """
    row = None if key is None else await connection.fetchrow(_FIND, user_id, key.route, key.key)
    if key is None or row is None:
        return None
    request_sha256, *written = row
    if request_sha256 != key.request_sha256:
        raise KeyReused
    return Written(*written)


async def store_key(connection: Any, user_id: UUID, key: IdempotencyKey | None, written: Written) -> None:
    """Store what a request wrote under its key, if it has one, in the transaction that writes it.

    Raises KeyReused when another request was committed under the key meanwhile.
    """
    if key is None:
        return
    named = (user_id, key.route, key.key, key.request_sha256)
    if not await connection.fetchval(_STORE, *named, *astuple(written)):
        raise KeyReused
