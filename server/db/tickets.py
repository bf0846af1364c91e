"""Tickets in PostgreSQL: one row each, deleted when the ticket is used or has expired.

SQL (ADR 0003): each operation is one statement, which also cleans up, and the database computes the times.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.errors import database_errors
from server.domain.access.stream_authorization import LEEWAY
from server.domain.access.tickets import TicketStore
from server.domain.model import Principal

#: Also deletes a few expired rows, so that the table stays small.
_PUT = """
WITH expired AS (
  DELETE FROM tickets WHERE sha256 IN (
    SELECT sha256 FROM tickets WHERE expires_at < now() LIMIT 20 FOR UPDATE SKIP LOCKED)
)
INSERT INTO tickets (sha256, user_id, thread_id, token_expires_at, expires_at)
VALUES ($1, $2, $3, $4, now() + $5::interval) RETURNING expires_at
"""

#: With $3 another one takes its place, for $4.
_TAKE = """
WITH taken AS (
  DELETE FROM tickets WHERE sha256 = $1 RETURNING user_id, thread_id, token_expires_at, expires_at
), caller AS (
  SELECT u.id, u.subject, u.email, t.token_expires_at FROM taken t JOIN users u ON u.id = t.user_id
  WHERE t.thread_id = $2 AND t.expires_at > now() AND u.disabled_at IS NULL
), replaced AS (
  INSERT INTO tickets (sha256, user_id, thread_id, token_expires_at, expires_at)
  SELECT $3::bytea, id, $2, token_expires_at, now() + $4::interval FROM caller WHERE $3 IS NOT NULL
)
SELECT * FROM caller
"""

#: The tolerance between clocks is the one of tokens.
_FIND = """
SELECT u.id, u.subject, u.email, t.token_expires_at FROM tickets t JOIN users u ON u.id = t.user_id
WHERE t.sha256 = $1 AND t.thread_id = $2 AND t.expires_at > now() AND u.disabled_at IS NULL
AND (t.token_expires_at IS NULL OR t.token_expires_at + $3::interval > now())
"""


class PostgresTicketStore(TicketStore):
    """The tickets that may be used."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @override
    async def put(
        self, sha256: bytes, principal: Principal, thread_id: UUID, lifetime: timedelta
    ) -> datetime:
        with database_errors():
            expires_at: datetime = await self._pool.fetchval(
                _PUT, sha256, principal.user_id, thread_id, principal.expires_at, lifetime
            )
        return expires_at

    @override
    async def take(
        self,
        sha256: bytes,
        thread_id: UUID,
        *,
        replacement: bytes | None = None,
        lifetime: timedelta | None = None,
    ) -> Principal | None:
        with database_errors():
            row = await self._pool.fetchrow(_TAKE, sha256, thread_id, replacement, lifetime)
        return _principal(row)

    @override
    async def find(self, sha256: bytes, thread_id: UUID) -> Principal | None:
        with database_errors():
            row = await self._pool.fetchrow(_FIND, sha256, thread_id, LEEWAY)
        return _principal(row)


def _principal(row: asyncpg.Record | None) -> Principal | None:
    if row is None:
        return None
    return Principal(row["id"], row["subject"], row["email"], row["token_expires_at"])
