"""The users' rows."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from server.db.users import PostgresUsers
from server.domain.errors import PermissionDenied
from server.domain.model import Principal
from tests.support.stored import NOON


async def test_the_first_calls_of_a_user_may_come_all_at_once(pool: Any) -> None:
    for _ in range(30):
        principal = Principal(uuid4(), f"ann-{uuid4()}", "ann@example.com")
        await asyncio.gather(*(PostgresUsers(pool).seen(principal, NOON) for _ in range(10)))


async def test_a_subject_of_another_users_is_refused(pool: Any) -> None:
    subject = f"ann-{uuid4()}"
    await PostgresUsers(pool).seen(Principal(uuid4(), subject), NOON)
    with pytest.raises(PermissionDenied):
        await PostgresUsers(pool).seen(Principal(uuid4(), subject), NOON)
