"""The deliveries of webhooks in PostgreSQL, as the senders see them.

A delivery that is claimed is due again when its lease ends: a replica that dies holds nothing. SQL (ADR
0003): the statements lock what they choose, and skip what another replica has locked.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.errors import database_errors
from server.domain.webhooks.events import EventType
from server.domain.webhooks.schedule import DISABLE_AFTER, GIVE_UP_AFTER, KEEP_FOR
from server.domain.webhooks.store import AttemptFailed, Claim, DeliveryStore

_logger = logging.getLogger(__name__)

#: Rows that a sweep gives up, and removes, in one statement.
MAX_SWEPT = 5_000
#: A delivery's last attempt may be due at the end of its time.
EXPIRE_LATE = timedelta(hours=1)

#: `waiting` goes from webhook to webhook in the index: it costs as much as there are webhooks with something
#: to report, not as there are deliveries. Owners take turns, and their webhooks are chosen by chance, so that
#: none has to wait for many others. A failing one rests while it is called, so that no other replica calls
#: it.
_CLAIM = """
WITH RECURSIVE waiting AS (
  (SELECT webhook_id FROM webhook_deliveries WHERE next_attempt_at IS NOT NULL ORDER BY webhook_id LIMIT 1)
  UNION ALL
  SELECT (
    SELECT d.webhook_id FROM webhook_deliveries d
    WHERE d.next_attempt_at IS NOT NULL AND d.webhook_id > waiting.webhook_id ORDER BY d.webhook_id LIMIT 1)
  FROM waiting WHERE waiting.webhook_id IS NOT NULL
), busy AS (
  SELECT * FROM unnest($3::uuid[], $4::int[]) AS b(webhook_id, count)
), busy_owners AS (
  SELECT w.owner_user_id, sum(busy.count) AS count FROM busy JOIN webhooks w ON w.id = busy.webhook_id
  GROUP BY 1
), chosen AS (
  SELECT w.id, CASE WHEN $1 THEN 1 ELSE $5 - coalesce(busy.count, 0) END AS room,
    coalesce(o.count, 0) AS taken,
    coalesce(o.count, 0) + row_number() OVER (PARTITION BY w.owner_user_id ORDER BY random()) AS turn
  FROM waiting JOIN webhooks w ON w.id = waiting.webhook_id
  LEFT JOIN busy ON busy.webhook_id = w.id LEFT JOIN busy_owners o ON o.owner_user_id = w.owner_user_id
  WHERE w.disabled_reason IS NULL AND (w.failures > 0) = $1 AND (w.retry_at IS NULL OR w.retry_at <= now())
    AND ($1 OR coalesce(busy.count, 0) < $5)
    AND EXISTS (
      SELECT FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.next_attempt_at <= now())
), ready AS MATERIALIZED (
  SELECT w.id, w.owner_user_id, chosen.room, chosen.taken FROM chosen JOIN webhooks w ON w.id = chosen.id
  WHERE chosen.turn <= $7
    -- Once more, for what another replica has just written.
    AND w.disabled_reason IS NULL AND (w.failures > 0) = $1 AND (w.retry_at IS NULL OR w.retry_at <= now())
  ORDER BY chosen.turn, random() LIMIT $2 FOR NO KEY UPDATE OF w SKIP LOCKED
), found AS (
  SELECT d.*, ready.taken + row_number() OVER (
    PARTITION BY ready.owner_user_id ORDER BY d.next_attempt_at) AS turn
  FROM ready CROSS JOIN LATERAL (
    SELECT webhook_id, event_id, next_attempt_at FROM webhook_deliveries
    WHERE webhook_id = ready.id AND next_attempt_at <= now()
    ORDER BY next_attempt_at LIMIT ready.room FOR UPDATE SKIP LOCKED
  ) AS d
), due AS MATERIALIZED (
  SELECT webhook_id, event_id FROM found WHERE turn <= $7 ORDER BY turn, next_attempt_at LIMIT $2
), resting AS (
  UPDATE webhooks w SET retry_at = now() + $6::interval
  WHERE $1 AND w.id IN (SELECT webhook_id FROM due)
), claimed AS (
  UPDATE webhook_deliveries d SET attempts = d.attempts + 1, next_attempt_at = now() + $6::interval
  FROM due WHERE d.webhook_id = due.webhook_id AND d.event_id = due.event_id
  RETURNING d.*
)
SELECT c.webhook_id, c.event_id, c.attempts AS attempt, c.event_type, c.data, c.created_at,
  extract(epoch FROM now() - c.retried_from)::float8 AS age_s, w.failures, w.target_url, w.secret,
  CASE WHEN w.previous_secret_expires_at > now() THEN w.previous_secret END AS previous_secret,
  f.workflow_id, p.draft_id, c.proposal_id, p.thread_id::uuid AS thread_id,
  EXISTS (
    SELECT FROM proposal_callers a WHERE a.proposal_id = c.proposal_id AND a.caller_id = w.owner_user_id
  ) AS permitted
FROM claimed c JOIN webhooks w ON w.id = c.webhook_id JOIN proposals p ON p.id = c.proposal_id
JOIN drafts f ON f.id = p.draft_id
"""

#: Whether a delivery was asked for again since its attempt was claimed: it is due since then.
_ASKED_AGAIN = "next_attempt_at = retried_from"

#: Whatever became of the attempt's lease: it was delivered.
_DELIVERED = f"""
WITH delivered AS (
  UPDATE webhook_deliveries SET delivered_at = now(), http_status = $4, failure = '',
    next_attempt_at = CASE WHEN attempts = $3 AND {_ASKED_AGAIN} THEN next_attempt_at END
  WHERE webhook_id = $1 AND event_id = $2
)
UPDATE webhooks SET failures = 0, failing_since = NULL, retry_at = NULL WHERE id = $1 AND failures > 0
"""  # noqa: S608 - only constants

_FAILED = f"""
WITH failed AS (
  UPDATE webhook_deliveries SET http_status = $4, failure = $5,
    next_attempt_at = CASE WHEN {_ASKED_AGAIN} THEN next_attempt_at ELSE now() + $6::interval END
  WHERE webhook_id = $1 AND event_id = $2 AND attempts = $3 AND next_attempt_at IS NOT NULL
  RETURNING 1
)
UPDATE webhooks SET failures = failures + 1, failing_since = coalesce(failing_since, now()),
  retry_at = now() + $7::interval,
  disabled_reason = CASE WHEN $8 THEN 'gone' WHEN failing_since < now() - $9::interval THEN 'failing' END
WHERE id = $1 AND disabled_reason IS NULL AND EXISTS (SELECT FROM failed)
RETURNING disabled_reason IS NOT NULL
"""  # noqa: S608 - only constants

_GIVE_UP = """
UPDATE webhook_deliveries SET failure = $4, next_attempt_at = NULL
WHERE webhook_id = $1 AND event_id = $2 AND attempts = $3
"""

_RELEASE = """
UPDATE webhook_deliveries d SET next_attempt_at = now()
FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS c(webhook_id, event_id, attempt)
WHERE d.webhook_id = c.webhook_id AND d.event_id = c.event_id AND d.attempts = c.attempt
  AND d.next_attempt_at IS NOT NULL
"""

#: Those of webhooks that are not called, or no longer exist.
_EXPIRE = f"""
UPDATE webhook_deliveries SET failure = 'expired', next_attempt_at = NULL
WHERE (webhook_id, event_id) IN (
  SELECT webhook_id, event_id FROM webhook_deliveries
  WHERE next_attempt_at < now() AND retried_from < now() - $1::interval
  LIMIT {MAX_SWEPT} FOR UPDATE SKIP LOCKED)
RETURNING 1
"""  # noqa: S608 - only constants

_REMOVE = f"""
DELETE FROM webhook_deliveries WHERE (webhook_id, event_id) IN (
  SELECT webhook_id, event_id FROM webhook_deliveries
  WHERE created_at < now() - $1::interval AND next_attempt_at IS NULL
  ORDER BY created_at LIMIT {MAX_SWEPT} FOR UPDATE SKIP LOCKED)
"""  # noqa: S608 - only constants


class PostgresDeliveryStore(DeliveryStore):
    """The deliveries of all webhooks."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @override
    async def claim(
        self,
        *,
        failing: bool,
        limit: int,
        busy: Mapping[UUID, int],
        max_per_webhook: int,
        max_per_owner: int,
        lease_s: float,
    ) -> Sequence[Claim]:
        with database_errors():
            rows = await self._pool.fetch(
                _CLAIM,
                failing,
                limit,
                list(busy),
                list(busy.values()),
                max_per_webhook,
                timedelta(seconds=lease_s),
                max_per_owner,
            )
        return [claim for row in rows if (claim := _claim(row)) is not None]

    @override
    async def mark_delivered(self, claim: Claim, http_status: int) -> None:
        with database_errors():
            await self._pool.execute(_DELIVERED, *_named(claim), http_status)

    @override
    async def mark_failed(self, claim: Claim, failed: AttemptFailed) -> bool:
        pause = None if failed.pause_s is None else timedelta(seconds=failed.pause_s)
        with database_errors():
            disabled = await self._pool.fetchval(
                _FAILED,
                *_named(claim),
                failed.http_status,
                failed.failure,
                pause,
                timedelta(seconds=failed.rest_s),
                failed.gone,
                DISABLE_AFTER,
            )
        return bool(disabled)

    @override
    async def give_up(self, claim: Claim, failure: str) -> None:
        with database_errors():
            await self._pool.execute(_GIVE_UP, *_named(claim), failure)

    @override
    async def release(self, claims: Sequence[Claim]) -> None:
        webhooks, events, attempts = (
            [claim.webhook_id for claim in claims],
            [claim.event_id for claim in claims],
            [claim.attempt for claim in claims],
        )
        with database_errors():
            await self._pool.execute(_RELEASE, webhooks, events, attempts)

    @override
    async def sweep(self) -> int:
        with database_errors():
            expired = await self._pool.fetch(_EXPIRE, GIVE_UP_AFTER + EXPIRE_LATE)
            await self._pool.execute(_REMOVE, KEEP_FOR)
        return len(expired)


def _named(claim: Claim) -> tuple[UUID, UUID, int]:
    return claim.webhook_id, claim.event_id, claim.attempt


def _claim(row: Mapping[str, Any]) -> Claim | None:
    """None for what this release cannot read, such as an event of a later release: once the lease ends, a
    replica that can reads it."""
    values = dict(row)
    secret, previous = values.pop("secret"), values.pop("previous_secret")
    values["secrets"] = (secret,) if previous is None else (secret, previous)
    try:
        values["event_type"] = EventType(values["event_type"])
        values["data"] = json.loads(values["data"])
    except ValueError:
        _logger.warning("webhook_delivery_not_read: %s, %s", row["webhook_id"], row["event_id"])
        return None
    return Claim(**values)
