"""The people and services that have called (ports.Users)."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from uuid import UUID

import asyncpg

from server.db.engine import ENGINE
from server.db.errors import database_errors
from server.db.tables import Users
from server.domain.errors import PermissionDenied
from server.domain.model import Principal


class PostgresUsers:
    """The users. Remembers the `remembered` ids that called last, and asks the database no more for them."""

    def __init__(self, pool: asyncpg.Pool, *, remembered: int = 10_000) -> None:
        self._pool = pool
        self._limit = remembered
        self._known: OrderedDict[UUID, None] = OrderedDict()

    async def seen(self, principal: Principal, now: datetime) -> None:
        """Make sure that the principal has a row. Cheap when it has.

        Raises PermissionDenied when the token's subject belongs to another user's row.
        """
        if principal.user_id in self._known:
            self._known.move_to_end(principal.user_id)
            return
        row = Users(id=principal.user_id, subject=principal.subject, email=principal.email, created_at=now)
        with database_errors():
            async with self._pool.acquire() as connection:
                with ENGINE.on(connection):
                    try:
                        await Users.insert(row).on_conflict(target=Users.id, action="DO NOTHING")
                    except asyncpg.UniqueViolationError:
                        # Two first calls of one user at once may collide on the subject, too.
                        if not await Users.exists().where(Users.id == principal.user_id):
                            raise PermissionDenied("the token's subject belongs to another user") from None
        self._known[principal.user_id] = None
        while len(self._known) > self._limit:
            self._known.popitem(last=False)
