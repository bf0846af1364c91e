"""The people and services that have called, with Piccolo's queries."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.engine import piccolo_connection
from server.db.tables import Users
from server.domain.access.users import UserStore
from server.domain.errors import PermissionDenied
from server.domain.model import Principal

#: How long a check of a user is valid. A user who is disabled meanwhile is refused after that time.
TRUSTED_FOR = timedelta(seconds=30)


class PostgresUserStore(UserStore):
    """The users. Remembers the `max_remembered` latest callers, and checks each again after TRUSTED_FOR."""

    def __init__(self, pool: asyncpg.Pool, *, max_remembered: int = 10_000) -> None:
        self._pool = pool
        self._max_remembered = max_remembered
        #: When each user was last checked, by id and subject, in order of their last calls.
        self._checked_at: OrderedDict[tuple[UUID, str], datetime] = OrderedDict()

    @override
    async def ensure_user(self, principal: Principal, now: datetime) -> None:
        key = (principal.user_id, principal.subject)
        checked_at = self._checked_at.get(key)
        if checked_at is not None and checked_at <= now < checked_at + TRUSTED_FOR:
            self._checked_at.move_to_end(key)
            return
        async with piccolo_connection(self._pool):
            row = await _find(principal) or await _insert(principal, now)
        if row is None or row["subject"] != principal.subject:
            raise PermissionDenied("the token's subject belongs to another user")
        if row["disabled_at"] is not None:
            self._checked_at.pop(key, None)
            raise PermissionDenied("this user is disabled")
        if principal.email is not None and row["email"] != principal.email:
            async with piccolo_connection(self._pool):
                await Users.update({Users.email: principal.email}).where(Users.id == principal.user_id)
        self._checked_at[key] = now
        self._checked_at.move_to_end(key)
        while len(self._checked_at) > self._max_remembered:
            self._checked_at.popitem(last=False)


async def _find(principal: Principal) -> dict[str, Any] | None:
    """The row with the principal's id."""
    query = Users.select(Users.subject, Users.email, Users.disabled_at).where(Users.id == principal.user_id)
    row: dict[str, Any] | None = await query.first()
    return row


async def _insert(principal: Principal, now: datetime) -> dict[str, Any] | None:
    """The new row, or the one that another call inserts first; None when another id has the subject."""
    row = Users(id=principal.user_id, subject=principal.subject, email=principal.email, created_at=now)
    # Two concurrent first calls of a user may also conflict on the subject.
    with contextlib.suppress(asyncpg.UniqueViolationError):
        await Users.insert(row).on_conflict(target=Users.id, action="DO NOTHING")
    return await _find(principal)
