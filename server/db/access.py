"""Grants and share links in PostgreSQL.

The view `proposal_callers` decides who may see a proposal. It has a row for each user with access, and for
each share link that is valid now. Disabled users have none, and neither do links whose creator is disabled or
not an owner.

Piccolo's queries, and SQL for what its builder does not express: arrays as tables, joins on two columns,
columns that depend on the caller, an upsert that reads the row it replaces, and times that the database
computes.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
from piccolo.querystring import QueryString
from typing_extensions import override

from server.db.batched_reads import BatchedReads
from server.db.engine import piccolo_connection
from server.db.errors import database_errors
from server.db.lock_queues import LockQueues
from server.db.tables import ProposalAccess, ProposalCallers, ShareLinks
from server.domain.access.sharing import (
    MAX_GRANTS,
    MAX_SHARE_LINKS,
    AccessStore,
    AccessType,
    Grant,
    ShareLink,
    require_owner,
)
from server.domain.access.stream_authorization import CallerAndThread, StreamAccess
from server.domain.errors import Conflict, CursorOutOfRange, NotFound
from server.domain.model import Principal

_NOW = QueryString("now()")

#: With a limit the view is asked for each pair; a join would read it whole.
_AUTHORIZED = """
SELECT w.caller_id, w.thread_id FROM unnest($1::uuid[], $2::uuid[]) w (caller_id, thread_id)
JOIN runs r ON r.thread_id = w.thread_id CROSS JOIN LATERAL (
  SELECT FROM proposal_callers a WHERE a.proposal_id = r.proposal_id AND a.caller_id = w.caller_id LIMIT 1
) AS permitted
"""

#: Grants as $1 is shown them. Until the user accepts the grant, the id reveals nothing: neither who the user
#: is nor whether one exists.
_SHOWN = """
SELECT g.proposal_id, g.user_id, g.access_type, g.granted_at,
  CASE WHEN g.accepted_at IS NOT NULL OR g.user_id IN ($1, p.created_by_user_id) THEN u.email END AS email
FROM {} g JOIN proposals p ON p.id = g.proposal_id LEFT JOIN users u ON u.id = g.user_id
"""

_GRANTS = _SHOWN.format("proposal_access") + "WHERE g.proposal_id = $2"

_GRANT = f"""
WITH granted AS (
  INSERT INTO proposal_access AS a (proposal_id, user_id, access_type) VALUES ($2, $3, $4)
  ON CONFLICT (proposal_id, user_id) DO UPDATE SET access_type = $4,
    granted_at = CASE WHEN a.access_type = $4 THEN a.granted_at ELSE now() END
  RETURNING *)
{_SHOWN.format("granted")}
"""  # noqa: S608 - only constants

_ACCEPT = f"""
WITH accepted AS (
  UPDATE proposal_access SET accepted_at = coalesce(accepted_at, now())
  WHERE proposal_id = $2 AND user_id = $1
    AND EXISTS (SELECT FROM proposal_callers WHERE proposal_id = $2 AND caller_id = $1)
  RETURNING *)
{_SHOWN.format("accepted")}
"""  # noqa: S608 - only constants

_ADD_LINK = """
WITH swept AS (DELETE FROM share_links WHERE proposal_id = $2 AND expires_at <= now())
INSERT INTO share_links (id, proposal_id, sha256, after_seq, created_by_user_id, expires_at)
VALUES ($1, $2, $3, $4, $5, now() + $6::interval)
RETURNING id, proposal_id, after_seq, created_by_user_id, created_at, expires_at
"""

_JOURNAL_HEAD = "SELECT thread_id, floor, last_seq FROM runs WHERE proposal_id = $1"

#: The links with the hashes $1. The arrays and the limit are as in `proposals._REFINEMENTS`.
_LINKS = """
SELECT w.number, l.id, l.after_seq, l.expires_at, l.created_by_user_id
FROM unnest((SELECT $1::bytea[])) WITH ORDINALITY AS w (sha256, number)
JOIN share_links l ON l.sha256 = w.sha256
CROSS JOIN LATERAL (
  SELECT FROM proposal_callers a WHERE a.proposal_id = l.proposal_id AND a.caller_id = l.id LIMIT 1
) AS permitted
"""

#: The order of a list of grants.
_RANK = {AccessType.OWNER: 0, AccessType.EDITOR: 1, AccessType.VIEWER: 2}


class PostgresAccessStore(AccessStore, StreamAccess):
    """The grants and the share links, with a maximum of each for one proposal."""

    def __init__(
        self, pool: asyncpg.Pool, *, max_grants: int = MAX_GRANTS, max_links: int = MAX_SHARE_LINKS
    ) -> None:
        self._pool, self._max_grants, self._max_links = pool, max_grants, max_links
        self._links = BatchedReads(pool, _LINKS)
        self._locks = LockQueues()

    # --- Reading ---------------------------------------------------------------------------------

    @override
    async def access_type(self, principal: Principal, proposal_id: UUID) -> AccessType | None:
        async with piccolo_connection(self._pool):
            return await _access_type(principal, proposal_id)

    @override
    async def filter_authorized(self, pairs: Sequence[CallerAndThread]) -> set[CallerAndThread]:
        callers, threads = [caller for caller, _ in pairs], [thread for _, thread in pairs]
        with database_errors():
            rows = await self._pool.fetch(_AUTHORIZED, callers, threads)
        return {(row["caller_id"], row["thread_id"]) for row in rows}

    @override
    async def grants(self, by: Principal, proposal_id: UUID) -> Sequence[Grant]:
        async with piccolo_connection(self._pool) as connection:
            require_owner(await _access_type(by, proposal_id))
            grants = [_grant(row) for row in await connection.fetch(_GRANTS, by.user_id, proposal_id)]
        return sorted(grants, key=lambda grant: (_RANK[grant.access_type], grant.granted_at, grant.user_id))

    @override
    async def links(self, by: Principal, proposal_id: UUID) -> Sequence[ShareLink]:
        query = (
            ShareLinks.select(
                *ShareLinks.all_columns(exclude=[ShareLinks.sha256]),
                ShareLinks.proposal_id.thread_id.as_alias("thread_id"),
            )
            .where(ShareLinks.proposal_id == proposal_id, ShareLinks.expires_at > _NOW)
            .order_by(ShareLinks.created_at, ascending=False)
            .order_by(ShareLinks.id)
        )
        async with piccolo_connection(self._pool):
            require_owner(await _access_type(by, proposal_id))
            return [ShareLink(**{**row, "thread_id": UUID(row["thread_id"])}) for row in await query]

    @override
    async def resolve_link(self, sha256: bytes) -> Principal | None:
        row = await self._links.row(sha256)
        if row is None:
            return None
        return Principal(
            row["id"],
            "",
            expires_at=row["expires_at"],
            after_seq=row["after_seq"],
            created_by=row["created_by_user_id"],
        )

    # --- Changing --------------------------------------------------------------------------------

    @override
    async def grant(self, by: Principal, proposal_id: UUID, user_id: UUID, access_type: AccessType) -> Grant:
        async with self._owned(by, proposal_id) as (connection, owners):
            if access_type is not AccessType.OWNER:
                _require_another_owner(owners, user_id)
                await _delete_links(proposal_id, user_id)
            others = await ProposalAccess.count().where(
                ProposalAccess.proposal_id == proposal_id, ProposalAccess.user_id != user_id
            )
            if others >= self._max_grants:
                raise Conflict(f"at most {self._max_grants} users may have access: revoke some first")
            row = await connection.fetchrow(_GRANT, by.user_id, proposal_id, user_id, access_type.value)
            return _grant(row)

    @override
    async def accept(self, principal: Principal, proposal_id: UUID) -> Grant:
        with database_errors():
            row = await self._pool.fetchrow(_ACCEPT, principal.user_id, proposal_id)
        if row is None:
            raise NotFound("no such proposal")
        return _grant(row)

    @override
    async def revoke(self, by: Principal, proposal_id: UUID, user_id: UUID) -> None:
        async with self._owned(by, proposal_id, leaving=user_id == by.user_id) as (_, owners):
            _require_another_owner(owners, user_id)
            await _delete_links(proposal_id, user_id)
            await ProposalAccess.delete().where(
                ProposalAccess.proposal_id == proposal_id, ProposalAccess.user_id == user_id
            )

    @override
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
        async with self._owned(by, proposal_id) as (connection, _):
            valid = await ShareLinks.count().where(
                ShareLinks.proposal_id == proposal_id, ShareLinks.expires_at > _NOW
            )
            if valid >= self._max_links:
                raise Conflict(f"at most {self._max_links} links may be valid at a time: revoke some first")
            thread_id, floor, last_seq = await connection.fetchrow(_JOURNAL_HEAD, proposal_id)
            if after_seq > last_seq:
                raise CursorOutOfRange(after_seq, floor, last_seq)
            row = await connection.fetchrow(
                _ADD_LINK, link_id, proposal_id, sha256, after_seq, by.user_id, lifetime
            )
            return ShareLink(thread_id=thread_id, **row)

    @override
    async def revoke_link(self, by: Principal, proposal_id: UUID, link_id: UUID) -> None:
        async with self._owned(by, proposal_id):
            revoked = (
                await ShareLinks.delete()
                .where(
                    ShareLinks.id == link_id,
                    ShareLinks.proposal_id == proposal_id,
                    ShareLinks.expires_at > _NOW,
                )
                .returning(ShareLinks.id)
            )
            if not revoked:
                raise NotFound("no such link")

    @contextlib.asynccontextmanager
    async def _owned(
        self, by: Principal, proposal_id: UUID, *, leaving: bool = False
    ) -> AsyncIterator[tuple[Any, set[UUID]]]:
        """A transaction that locks the proposal's owner rows: its connection, and the owners.

        The lock comes before the check of `by`: of two owners who revoke each other's access at the same
        time, the second one finds that it is no longer an owner.

        leaving: the caller gives up its own access, which needs no ownership. Raises NotFound when the caller
        may not see the proposal, PermissionDenied when it is not an owner.
        """
        async with (
            self._locks.turn(proposal_id),
            piccolo_connection(self._pool) as connection,
            connection.transaction(),
        ):
            rows = (
                await ProposalAccess.select(ProposalAccess.user_id)
                .where(
                    ProposalAccess.proposal_id == proposal_id,
                    ProposalAccess.access_type == AccessType.OWNER.value,
                )
                .order_by(ProposalAccess.user_id)
                .lock_rows("UPDATE")
            )
            access_type = await _access_type(by, proposal_id)
            if access_type is None or not leaving:
                require_owner(access_type)
            yield connection, {row["user_id"] for row in rows}


async def _access_type(principal: Principal, proposal_id: UUID) -> AccessType | None:
    """The principal's access, read on the connection in use."""
    row = (
        await ProposalCallers.select(ProposalCallers.access_type)
        .where(ProposalCallers.proposal_id == proposal_id, ProposalCallers.caller_id == principal.user_id)
        .first()
    )
    return None if row is None else AccessType(row["access_type"])


async def _delete_links(proposal_id: UUID, user_id: UUID) -> None:
    """Delete the links of a user who stops being an owner: they do not come back with the ownership."""
    await ShareLinks.delete().where(
        ShareLinks.proposal_id == proposal_id, ShareLinks.created_by_user_id == user_id
    )


def _require_another_owner(owners: set[UUID], user_id: UUID) -> None:
    """Raise Conflict when the user is the only owner."""
    if owners == {user_id}:
        raise Conflict("a proposal needs an owner: make another user an owner first")


def _grant(row: Mapping[str, Any]) -> Grant:
    return Grant(**{**row, "access_type": AccessType(row["access_type"])})
