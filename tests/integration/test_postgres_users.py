"""The users' rows."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from server.db.users import TRUSTED_FOR, PostgresUserStore
from server.domain.errors import PermissionDenied
from server.domain.model import Principal
from tests.support.stored import NOON


async def test_the_first_calls_of_a_user_may_come_at_the_same_time(pool: Any) -> None:
    for _ in range(30):
        principal = Principal(uuid4(), f"ann-{uuid4()}", "ann@example.com")
        await asyncio.gather(*(PostgresUserStore(pool).ensure_user(principal, NOON) for _ in range(10)))


async def test_a_subject_that_belongs_to_another_id_is_refused(pool: Any) -> None:
    subject = f"ann-{uuid4()}"
    await PostgresUserStore(pool).ensure_user(Principal(uuid4(), subject), NOON)
    with pytest.raises(PermissionDenied):
        await PostgresUserStore(pool).ensure_user(Principal(uuid4(), subject), NOON)


async def test_a_subject_that_looks_like_another_users_id_is_refused(pool: Any) -> None:
    users, ann = PostgresUserStore(pool), Principal(uuid4(), f"ann-{uuid4()}")
    await users.ensure_user(ann, NOON)
    for _ in range(2):
        with pytest.raises(PermissionDenied):
            await users.ensure_user(Principal(ann.user_id, str(ann.user_id)), NOON)


async def test_a_disabled_user_is_refused_within_a_minute_and_accepted_once_enabled_again(pool: Any) -> None:
    users, ann = PostgresUserStore(pool), Principal(uuid4(), f"ann-{uuid4()}")
    await users.ensure_user(ann, NOON)
    await pool.execute("UPDATE users SET disabled_at = now() WHERE id = $1", ann.user_id)
    assert timedelta(seconds=60) >= TRUSTED_FOR
    with pytest.raises(PermissionDenied):
        await users.ensure_user(ann, NOON + TRUSTED_FOR)
    with pytest.raises(PermissionDenied):
        await PostgresUserStore(pool).ensure_user(ann, NOON)
    await pool.execute("UPDATE users SET disabled_at = NULL WHERE id = $1", ann.user_id)
    await users.ensure_user(ann, NOON + TRUSTED_FOR)


async def test_the_email_is_the_one_of_the_newest_token_that_has_one(pool: Any) -> None:
    users, user_id, subject = PostgresUserStore(pool), uuid4(), f"ann-{uuid4()}"
    found = []
    for minute, email in enumerate((None, "ann@example.com", None, "ann@example.org", "ann@example.org")):
        await users.ensure_user(Principal(user_id, subject, email), NOON + timedelta(minutes=minute))
        found.append(await pool.fetchval("SELECT email FROM users WHERE id = $1", user_id))
    assert found == [None, *["ann@example.com"] * 2, *["ann@example.org"] * 2]


async def test_a_user_that_was_checked_recently_is_not_queried_again(pool: Any) -> None:
    users, ann = PostgresUserStore(pool), Principal(uuid4(), f"ann-{uuid4()}")
    await users.ensure_user(ann, NOON)
    await pool.close()
    await users.ensure_user(ann, NOON + TRUSTED_FOR - timedelta(seconds=1))
