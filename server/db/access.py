"""Who may do what, in PostgreSQL (access.AccessStore, admission.Access).

The view `proposal_callers` is the one answer to who may see a proposal: a row for each user with access
and for each share link that is good now. Each change locks the proposal's owners first, so that of two
owners who take each other's access away at once one finds that it no longer may.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from server.db.errors import database_errors
from server.domain.access.sharing import (
    MAX_GRANTS,
    MAX_SHARE_LINKS,
    AccessType,
    Grant,
    ShareLink,
    require_owner,
)
from server.domain.access.stream_authorization import Pair
from server.domain.errors import Conflict, CursorOutOfRange, NotFound
from server.domain.model import Principal

_Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[Any]"

_ACCESS_TYPE = "SELECT access_type FROM proposal_callers WHERE proposal_id = $1 AND caller_id = $2"

_STILL = """
SELECT w.caller_id, w.thread_id FROM unnest($1::uuid[], $2::uuid[]) w (caller_id, thread_id)
JOIN runs r ON r.thread_id = w.thread_id
JOIN proposal_callers a ON a.proposal_id = r.proposal_id AND a.caller_id = w.caller_id
WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = w.caller_id AND u.disabled_at IS NOT NULL)
"""

_OWNERS = """
SELECT user_id FROM proposal_access WHERE proposal_id = $1 AND access_type = 'owner' ORDER BY user_id
FOR UPDATE
"""

_GRANTS = """
SELECT a.proposal_id, a.user_id, a.access_type, a.granted_at, u.email
FROM proposal_access a JOIN users u ON u.id = a.user_id WHERE a.proposal_id = $1
ORDER BY array_position(ARRAY['owner', 'editor', 'viewer'], a.access_type::text), a.granted_at, a.user_id
"""

_GRANT = """
WITH granted AS (
  INSERT INTO proposal_access AS a (proposal_id, user_id, access_type)
  SELECT $1, u.id, $3 FROM users u WHERE u.id = $2
  ON CONFLICT (proposal_id, user_id) DO UPDATE SET access_type = $3,
    granted_at = CASE WHEN a.access_type = $3 THEN a.granted_at ELSE now() END
  RETURNING *)
SELECT g.proposal_id, g.user_id, g.access_type, g.granted_at, u.email
FROM granted g JOIN users u ON u.id = g.user_id
"""

_ADD_LINK = """
WITH swept AS (DELETE FROM share_links WHERE proposal_id = $2 AND expires_at <= now()),
l AS (
  INSERT INTO share_links (id, proposal_id, sha256, after_seq, created_by_user_id, expires_at)
  VALUES ($1, $2, $3, $4, $5, now() + $6::interval) RETURNING *)
SELECT l.id, l.proposal_id, r.thread_id, l.after_seq, l.created_by_user_id, l.created_at, l.expires_at
FROM l JOIN runs r ON r.proposal_id = l.proposal_id
"""

_LINKS = """
SELECT l.id, l.proposal_id, r.thread_id, l.after_seq, l.created_by_user_id, l.created_at, l.expires_at
FROM share_links l JOIN runs r ON r.proposal_id = l.proposal_id
WHERE l.proposal_id = $1 AND l.expires_at > now() ORDER BY l.created_at DESC, l.id
"""

_OPEN_LINK = """
SELECT l.id, l.after_seq, l.expires_at FROM share_links l
JOIN proposal_callers a ON a.proposal_id = l.proposal_id AND a.caller_id = l.id WHERE l.sha256 = $1
"""


class PostgresAccessStore:
    """The grants and the share links; at most so many for one proposal."""

    def __init__(
        self, pool: asyncpg.Pool, *, max_grants: int = MAX_GRANTS, links_most: int = MAX_SHARE_LINKS
    ) -> None:
        self._pool, self._grants_most, self._links_most = pool, max_grants, links_most

    # --- Reading ---------------------------------------------------------------------------------

    async def access_type(self, principal: Principal, proposal_id: UUID) -> AccessType | None:
        """What the principal may do; None when it may not see the proposal, or there is none."""
        with database_errors():
            word = await self._pool.fetchval(_ACCESS_TYPE, proposal_id, principal.user_id)
        return None if word is None else AccessType(word)

    async def still(self, pairs: Sequence[Pair]) -> set[Pair]:
        """Those of the (caller, thread) pairs whose caller is no disabled user and may see the thread."""
        callers, threads = [caller for caller, _ in pairs], [thread for _, thread in pairs]
        with database_errors():
            rows = await self._pool.fetch(_STILL, callers, threads)
        return {(row["caller_id"], row["thread_id"]) for row in rows}

    async def grants(self, by: Principal, proposal_id: UUID) -> Sequence[Grant]:
        """Who has access, owners first, then by time."""
        require_owner(await self.access_type(by, proposal_id))
        with database_errors():
            return [_grant(row) for row in await self._pool.fetch(_GRANTS, proposal_id)]

    async def links(self, by: Principal, proposal_id: UUID) -> Sequence[ShareLink]:
        """The links that are good now, newest first."""
        require_owner(await self.access_type(by, proposal_id))
        with database_errors():
            return [ShareLink(**row) for row in await self._pool.fetch(_LINKS, proposal_id)]

    async def resolve_link(self, sha256: bytes) -> Principal | None:
        """The caller that a link's secret stands for; None when it is not good, or no longer."""
        with database_errors():
            row = await self._pool.fetchrow(_OPEN_LINK, sha256)
        if row is None:
            return None
        return Principal(row["id"], "", expires_at=row["expires_at"], after_seq=row["after_seq"])

    # --- Changing --------------------------------------------------------------------------------

    async def grant(self, by: Principal, proposal_id: UUID, user_id: UUID, access_type: AccessType) -> Grant:
        """Give a user access, or other access than before; the same again keeps its time."""
        async with self._owned(by, proposal_id) as (connection, owners):
            if access_type is not AccessType.OWNER:
                _leave_an_owner(owners, user_id)
            had = "SELECT count(*) FROM proposal_access WHERE proposal_id = $1 AND user_id <> $2"
            if await connection.fetchval(had, proposal_id, user_id) >= self._grants_most:
                raise Conflict(f"at most {self._grants_most} users may have access: withdraw some first")
            row = await connection.fetchrow(_GRANT, proposal_id, user_id, access_type.value)
            if row is None:
                raise NotFound("there is no such user: users are known once they have called")
            return _grant(row)

    async def revoke(self, by: Principal, proposal_id: UUID, user_id: UUID) -> None:
        """Take a user's access away, if it has any."""
        async with self._owned(by, proposal_id, leaving=user_id == by.user_id) as (connection, owners):
            _leave_an_owner(owners, user_id)
            gone = "DELETE FROM proposal_access WHERE proposal_id = $1 AND user_id = $2"
            await connection.execute(gone, proposal_id, user_id)

    async def add_link(
        self,
        by: Principal,
        proposal_id: UUID,
        *,
        link_id: UUID,
        sha256: bytes,
        after_seq: int,
        lifetime: timedelta,
    ) -> ShareLink:
        """Keep a new link, and drop those of the proposal that have expired."""
        async with self._owned(by, proposal_id) as (connection, _):
            good = "SELECT count(*) FROM share_links WHERE proposal_id = $1 AND expires_at > now()"
            if await connection.fetchval(good, proposal_id) >= self._links_most:
                raise Conflict(f"at most {self._links_most} links may be good at a time: withdraw some first")
            place = "SELECT floor, last_seq FROM runs WHERE proposal_id = $1"
            floor, last_seq = await connection.fetchrow(place, proposal_id)
            if after_seq > last_seq:
                raise CursorOutOfRange(after_seq, floor, last_seq)
            row = await connection.fetchrow(
                _ADD_LINK, link_id, proposal_id, sha256, after_seq, by.user_id, lifetime
            )
            return ShareLink(**row)

    async def revoke_link(self, by: Principal, proposal_id: UUID, link_id: UUID) -> None:
        """Make a link good for nothing."""
        async with self._owned(by, proposal_id) as (connection, _):
            gone = """DELETE FROM share_links WHERE id = $1 AND proposal_id = $2 AND expires_at > now()
              RETURNING id"""
            if await connection.fetchval(gone, link_id, proposal_id) is None:
                raise NotFound("there is no such link")

    @contextlib.asynccontextmanager
    async def _owned(
        self, by: Principal, proposal_id: UUID, *, leaving: bool = False
    ) -> AsyncIterator[tuple[_Connection, set[UUID]]]:
        """A transaction in which the owners stay as they are, with them. Raises NotFound for who may not
        see the proposal, PermissionDenied for who is no owner, unless it wants to leave."""
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                owners = {row["user_id"] for row in await connection.fetch(_OWNERS, proposal_id)}
                word = await connection.fetchval(_ACCESS_TYPE, proposal_id, by.user_id)
                if word is None or not leaving:
                    require_owner(None if word is None else AccessType(word))
                yield connection, owners


def _leave_an_owner(owners: set[UUID], user_id: UUID) -> None:
    if owners == {user_id}:
        raise Conflict("a proposal needs an owner: make somebody else one first")


def _grant(row: Any) -> Grant:
    return Grant(**{**row, "access_type": AccessType(row["access_type"])})
