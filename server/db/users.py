"""The people and services that have called (ports.Users)."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from server.db.engine import ENGINE
from server.db.errors import database_errors
from server.db.tables import Users
from server.domain.errors import PermissionDenied
from server.domain.model import Principal

#: How long a user who was found in order is not looked up again; then whoever was disabled is refused.
TRUSTED_FOR = timedelta(seconds=30)


class PostgresUserStore:
    """The users. Remembers the `remembered` that called last, and asks the database for each now and then."""

    def __init__(self, pool: asyncpg.Pool, *, remembered: int = 10_000) -> None:
        self._pool = pool
        self._limit = remembered
        #: When each was last found in order.
        self._known: OrderedDict[tuple[UUID, str], datetime] = OrderedDict()

    async def seen(self, principal: Principal, now: datetime) -> None:
        """Make sure that the principal has a row. Cheap when it was seen lately.

        Raises PermissionDenied when the user is disabled, or when the subject and the id are not of one
        user: an issuer's subject may look like the id that another subject stands for.
        """
        who = (principal.user_id, principal.subject)
        checked_at = self._known.get(who)
        if checked_at is not None and checked_at <= now < checked_at + TRUSTED_FOR:
            self._known.move_to_end(who)
            return
        with database_errors():
            async with self._pool.acquire() as connection:
                with ENGINE.on(connection):
                    row = await _found(principal) or await _made(principal, now)
        if row is None or row["subject"] != principal.subject:
            raise PermissionDenied("the token's subject belongs to another user")
        if row["disabled_at"] is not None:
            self._known.pop(who, None)
            raise PermissionDenied("this user is disabled")
        self._known[who] = now
        self._known.move_to_end(who)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)


async def _found(principal: Principal) -> dict[str, Any] | None:
    """The row with the principal's id."""
    query = Users.select(Users.subject, Users.disabled_at).where(Users.id == principal.user_id)
    row: dict[str, Any] | None = await query.first()
    return row


async def _made(principal: Principal, now: datetime) -> dict[str, Any] | None:
    """The row, made now or by another call at the same time; None when another id has the subject."""
    row = Users(id=principal.user_id, subject=principal.subject, email=principal.email, created_at=now)
    # Two first calls of one user at once may collide on the subject, too.
    with contextlib.suppress(asyncpg.UniqueViolationError):
        await Users.insert(row).on_conflict(target=Users.id, action="DO NOTHING")
    return await _found(principal)
