"""The people and services that have called, with Piccolo's queries; SQL for what depends on the caller."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import asyncpg
from typing_extensions import override

from server.db.engine import piccolo_connection
from server.db.errors import database_errors
from server.db.searches import Searches
from server.db.tables import Users
from server.domain.access.refusals import DISABLED, OTHER_ISSUER
from server.domain.access.users import MAX_FOUND, TokenClaims, User, UserStore
from server.domain.errors import PermissionDenied
from server.domain.model import Principal
from server.domain.single_flight import single_flight

#: How long a check of a user is valid. A user who is disabled meanwhile is refused after that time.
TRUSTED_FOR = timedelta(seconds=30)

#: An owner of a proposal sees the address of who accepted a grant of it, or started its refinement: as in
#: `server.db.access`. The grants of who is found are read, and not those of who searches: these may be many.
_FIND = """
SELECT u.id, u.email FROM users u
WHERE lower(u.email) = lower($2) AND u.disabled_at IS NULL AND ($3 OR u.id = $1 OR EXISTS (
  SELECT FROM proposal_access theirs CROSS JOIN LATERAL (
    SELECT FROM proposal_access mine JOIN proposals p ON p.id = mine.proposal_id
    WHERE mine.proposal_id = theirs.proposal_id AND mine.user_id = $1 AND mine.access_type = 'owner'
      AND (theirs.accepted_at IS NOT NULL OR p.created_by_user_id = u.id) LIMIT 1
  ) AS shared WHERE theirs.user_id = u.id))
ORDER BY u.created_at, u.id LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class _Known:
    """A user that was checked."""

    user_id: UUID
    email: str | None
    checked_at: datetime


class PostgresUserStore(UserStore):
    """The users. Remembers the `max_remembered` latest callers, and checks each again after TRUSTED_FOR."""

    def __init__(self, pool: asyncpg.Pool, *, max_remembered: int = 10_000) -> None:
        self._pool = pool
        self._max_remembered = max_remembered
        self._searches = Searches()
        #: The users by issuer and subject, in order of their last calls.
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        #: Checks that are running, by what they check: a user's first calls often come at the same time.
        self._checks: dict[tuple[str, str, str | None], asyncio.Task[_Known]] = {}

    @override
    async def ensure_user(self, claims: TokenClaims, now: datetime) -> Principal:
        key = (claims.issuer, claims.subject)
        known = self._known.get(key)
        if known is None or not _is_valid(known, claims, now):
            self._known.pop(key, None)
            known = await single_flight(
                self._checks, (*key, claims.email), lambda: self._check(claims, now), name="user check"
            )
            self._known[key] = known
            while len(self._known) > self._max_remembered:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return Principal(known.user_id, claims.subject, claims.email, claims.expires_at)

    @override
    async def find_by_email(self, by: Principal, email: str, *, anybody: bool) -> Sequence[User]:
        with database_errors():
            async with self._searches.place():
                rows = await self._pool.fetch(_FIND, by.user_id, email, anybody, MAX_FOUND)
        return [User(row["id"], row["email"]) for row in rows]

    async def _check(self, claims: TokenClaims, now: datetime) -> _Known:
        """The user in the database, with the token's email. Raises PermissionDenied."""
        async with piccolo_connection(self._pool):
            row = await _find(claims.subject) or await _insert(claims, now)
            if not _is_of_issuer(row, claims):
                raise PermissionDenied("the token's subject belongs to another user", reason=OTHER_ISSUER)
            if row["disabled_at"] is not None:
                raise PermissionDenied("this user is disabled", reason=DISABLED)
            if claims.email is not None and row["email"] != claims.email:
                await Users.update({Users.email: claims.email}).where(Users.id == row["id"])
        return _Known(row["id"], claims.email or row["email"], now)


def _is_valid(known: _Known, claims: TokenClaims, now: datetime) -> bool:
    """Whether the check is recent, and the email stored."""
    recent = known.checked_at <= now < known.checked_at + TRUSTED_FOR
    return recent and claims.email in (None, known.email)


async def _find(subject: str) -> dict[str, Any] | None:
    """The row of the subject."""
    query = Users.select(Users.id, Users.issuer, Users.email, Users.disabled_at)
    row: dict[str, Any] | None = await query.where(Users.subject == subject).first()
    return row


async def _insert(claims: TokenClaims, now: datetime) -> dict[str, Any]:
    """The new row, or the one that another call inserts first. Its id is random: nobody can compute it."""
    row = Users(id=uuid4(), subject=claims.subject, issuer=claims.issuer, email=claims.email, created_at=now)
    await Users.insert(row).on_conflict(target=Users.subject, action="DO NOTHING")
    found = await _find(claims.subject)
    assert found is not None, "a user is never deleted"
    return found


def _is_of_issuer(row: dict[str, Any], claims: TokenClaims) -> bool:
    """Whether the user is this issuer's. A row of an earlier release names none: its id is the subject, if
    that is a UUID, else it is computed (version 5) from issuer and subject."""
    if row["issuer"] is not None:
        return bool(row["issuer"] == claims.issuer)
    computed = uuid5(NAMESPACE_URL, f"{claims.issuer}|{claims.subject}")
    return row["id"] == computed or str(row["id"]) == claims.subject or row["id"].version != computed.version
