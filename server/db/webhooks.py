"""The webhooks of each owner, in PostgreSQL. SQL (ADR 0003): each statement depends on the caller or takes
locks.

Secrets are read only to sign, and by the request that makes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.errors import database_errors
from server.db.idempotency import Written, find_written, store_key
from server.db.page_tokens import page_of, page_place
from server.domain.errors import Conflict, NotFound
from server.domain.model import IdempotencyKey, Page, Principal
from server.domain.webhooks.events import EventType
from server.domain.webhooks.store import WebhookStore, WrittenWebhook
from server.domain.webhooks.webhook import MAX_WEBHOOKS, CreateWebhook, Delivery, UpdateWebhook, Webhook

#: The bytes of these lists in page tokens.
_LIST, _DELIVERIES = b"h", b"d"

_COLUMNS = """ id, owner_user_id, workflow_id, target_url, event_types, disabled_reason, failing_since, CASE
WHEN previous_secret_expires_at > now() THEN previous_secret_expires_at END AS previous_secret_expires_at,
created_at
"""

_NAMED = "FROM webhooks WHERE owner_user_id = $1 AND id = $2"
_GET, _GET_WITH_SECRET = f"SELECT {_COLUMNS} {_NAMED}", f"SELECT {_COLUMNS}, secret {_NAMED}"

_PAGE = f"""
SELECT {_COLUMNS} FROM webhooks
WHERE owner_user_id = $1 AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid))
ORDER BY created_at DESC, id DESC LIMIT $4
"""  # noqa: S608 - only constants

#: Webhooks of one owner are made one at a time: two that count concurrently would find the same number.
_LOCK_OWNER = "SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE"

_CREATE = f"""
INSERT INTO webhooks (id, owner_user_id, workflow_id, target_url, event_types, secret, created_at)
VALUES ($2, $1, $3, $4, $5, $6, $7) RETURNING {_COLUMNS}, secret
"""  # noqa: S608 - only constants

#: What is enabled, or called elsewhere, counts as sound.
_UPDATE = f"""
UPDATE webhooks SET target_url = coalesce($3, target_url),
  event_types = CASE WHEN cardinality($4::text[]) > 0 THEN $4 ELSE event_types END,
  disabled_reason = CASE WHEN $5 THEN NULL WHEN NOT $5 THEN coalesce(disabled_reason, 'owner')
    ELSE disabled_reason END,
  failures = CASE WHEN $5 OR $3 IS NOT NULL THEN 0 ELSE failures END,
  failing_since = CASE WHEN $5 OR $3 IS NOT NULL THEN NULL ELSE failing_since END,
  retry_at = CASE WHEN $5 OR $3 IS NOT NULL THEN NULL ELSE retry_at END
WHERE owner_user_id = $1 AND id = $2 RETURNING {_COLUMNS}
"""  # noqa: S608 - only constants

#: Its keys may then be used for others.
_DELETE = """
WITH gone AS (DELETE FROM webhooks WHERE owner_user_id = $1 AND id = $2 RETURNING id),
  unnamed AS (DELETE FROM idempotency_keys k USING gone WHERE k.user_id = $1 AND k.webhook_id = gone.id),
  undelivered AS (DELETE FROM webhook_deliveries d USING gone WHERE d.webhook_id = gone.id)
SELECT id FROM gone
"""

_ROTATE = f"""
UPDATE webhooks SET secret = $3, previous_secret = CASE WHEN $4 > interval '0' THEN secret END,
  previous_secret_expires_at = CASE WHEN $4 > interval '0' THEN now() + $4 END
WHERE owner_user_id = $1 AND id = $2 RETURNING {_COLUMNS}, secret
"""  # noqa: S608 - only constants

_DELIVERY = """
event_id AS id, event_type, proposal_id, attempts, http_status, failure, created_at, next_attempt_at,
delivered_at
"""

_DELIVERIES_PAGE = f"""
SELECT {_DELIVERY} FROM webhook_deliveries
WHERE webhook_id = $1 AND ($2::timestamptz IS NULL OR (created_at, event_id) < ($2, $3::uuid))
ORDER BY created_at DESC, event_id DESC LIMIT $4
"""  # noqa: S608 - only constants

#: A delivery that is being made is made again after that.
_REDELIVER = f"""
UPDATE webhook_deliveries SET next_attempt_at = now(), retried_from = now(), delivered_at = NULL
WHERE webhook_id = $1 AND event_id = $2 RETURNING {_DELIVERY}
"""  # noqa: S608 - only constants


class PostgresWebhookStore(WebhookStore):
    """The webhooks, with a maximum for each owner."""

    def __init__(self, pool: asyncpg.Pool, *, max_webhooks: int = MAX_WEBHOOKS) -> None:
        self._pool, self._max_webhooks = pool, max_webhooks

    @override
    async def create(
        self,
        principal: Principal,
        command: CreateWebhook,
        *,
        webhook_id: UUID,
        secret: bytes,
        now: datetime,
        key: IdempotencyKey | None = None,
    ) -> WrittenWebhook:
        owner = principal.user_id
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_LOCK_OWNER, owner)
                earlier = await _earlier(connection, owner, key)
                if earlier is not None:
                    return earlier
                owned = "SELECT true FROM workflows WHERE id = $2 AND owner_user_id = $1"
                if command.workflow_id and not await connection.fetchval(owned, owner, command.workflow_id):
                    raise NotFound("no such workflow")
                count = "SELECT count(*) FROM webhooks WHERE owner_user_id = $1"
                if await connection.fetchval(count, owner) >= self._max_webhooks:
                    raise Conflict(f"at most {self._max_webhooks} webhooks are allowed: delete some first")
                row = await connection.fetchrow(
                    _CREATE,
                    owner,
                    webhook_id,
                    command.workflow_id,
                    command.target_url,
                    list(command.event_types),
                    secret,
                    now,
                )
                await store_key(connection, owner, key, Written(webhook_id=webhook_id))
        return WrittenWebhook(_webhook(row))

    @override
    async def get(self, principal: Principal, webhook_id: UUID) -> Webhook:
        with database_errors():
            return _webhook(await self._pool.fetchrow(_GET, principal.user_id, webhook_id))

    @override
    async def list(self, principal: Principal, *, limit: int, token: str | None) -> Page:
        place = (None, None) if token is None else page_place(_LIST, token)
        with database_errors():
            rows = await self._pool.fetch(_PAGE, principal.user_id, *place, limit + 1)
        return page_of([_webhook(row) for row in rows], kind=_LIST, limit=limit)

    @override
    async def update(self, principal: Principal, webhook_id: UUID, command: UpdateWebhook) -> Webhook:
        with database_errors():
            row = await self._pool.fetchrow(
                _UPDATE,
                principal.user_id,
                webhook_id,
                command.target_url,
                list(command.event_types),
                command.enabled,
            )
        return _webhook(row)

    @override
    async def delete(self, principal: Principal, webhook_id: UUID) -> None:
        with database_errors():
            if await self._pool.fetchval(_DELETE, principal.user_id, webhook_id) is None:
                raise NotFound("no such webhook")

    @override
    async def rotate(
        self,
        principal: Principal,
        webhook_id: UUID,
        *,
        secret: bytes,
        overlap: timedelta,
        key: IdempotencyKey | None = None,
    ) -> WrittenWebhook:
        owner = principal.user_id
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                _webhook(await connection.fetchrow(f"{_GET} FOR NO KEY UPDATE", owner, webhook_id))
                earlier = await _earlier(connection, owner, key)
                if earlier is not None:
                    return earlier
                row = await connection.fetchrow(_ROTATE, owner, webhook_id, secret, overlap)
                await store_key(connection, owner, key, Written(webhook_id=webhook_id))
        return WrittenWebhook(_webhook(row))

    @override
    async def deliveries(
        self, principal: Principal, webhook_id: UUID, *, limit: int, token: str | None
    ) -> Page:
        place = (None, None) if token is None else page_place(_DELIVERIES, token)
        await self.get(principal, webhook_id)
        with database_errors():
            rows = await self._pool.fetch(_DELIVERIES_PAGE, webhook_id, *place, limit + 1)
        return page_of([_delivery(row) for row in rows], kind=_DELIVERIES, limit=limit)

    @override
    async def redeliver(self, principal: Principal, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        webhook = await self.get(principal, webhook_id)
        if not webhook.enabled:
            raise Conflict("the webhook is not enabled: enable it first")
        with database_errors():
            row = await self._pool.fetchrow(_REDELIVER, webhook_id, delivery_id)
        if row is None:
            raise NotFound("no such delivery")
        return _delivery(row)


async def _earlier(connection: Any, owner: UUID, key: IdempotencyKey | None) -> WrittenWebhook | None:
    """The webhook that the key belongs to; None when it may be used. Raises as `find_written`, and NotFound
    for a webhook that is deleted at this moment."""
    written = await find_written(connection, owner, key)
    if written is None:
        return None
    row = await connection.fetchrow(_GET_WITH_SECRET, owner, written.webhook_id)
    return WrittenWebhook(_webhook(row), replayed=True)


def _webhook(row: Mapping[str, Any] | None) -> Webhook:
    """The webhook of a row, with its secret if that was read. Raises NotFound without a row."""
    if row is None:
        raise NotFound("no such webhook")
    return Webhook(**{**row, "event_types": tuple(map(EventType, row["event_types"]))})


def _delivery(row: Mapping[str, Any]) -> Delivery:
    return Delivery(**{**row, "event_type": EventType(row["event_type"])})
