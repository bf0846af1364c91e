"""The users' rows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import asyncpg
import pytest

from server.db.pool import open_pool
from server.db.users import TRUSTED_FOR, PostgresUserStore
from server.domain.errors import PermissionDenied
from tests.support.stored import NOON, some_claims


async def test_the_first_calls_of_a_user_may_come_at_the_same_time(pool: Any) -> None:
    for _ in range(30):
        claims = some_claims(f"ann-{uuid4()}", "ann@example.com")
        calls = (PostgresUserStore(pool).ensure_user(claims, NOON) for _ in range(10))
        assert len({caller.user_id for caller in await asyncio.gather(*calls)}) == 1


async def test_calls_of_one_user_at_the_same_time_occupy_one_connection(database: str) -> None:
    ann = some_claims("ann", "ann@example.com")
    blocker = await asyncpg.connect(database)
    try:
        async with open_pool(database, max_size=2) as pool, asyncio.timeout(60):
            users, lock = PostgresUserStore(pool), blocker.transaction()
            await lock.start()
            await blocker.execute("LOCK TABLE users")
            calls = [asyncio.create_task(users.ensure_user(ann, NOON)) for _ in range(20)]
            while not await blocker.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
            assert await pool.fetchval("SELECT 1") == 1
            calls.pop(0).cancel()
            await lock.rollback()
            assert len({caller.user_id for caller in await asyncio.gather(*calls)}) == 1
    finally:
        await blocker.close()


async def test_calls_that_are_refused_at_the_same_time_do_not_refuse_the_next_one(pool: Any) -> None:
    ann = some_claims("ann")
    await PostgresUserStore(pool).ensure_user(ann, NOON)
    await pool.execute("UPDATE users SET disabled_at = now()")
    users = PostgresUserStore(pool)
    refused = await asyncio.gather(*(users.ensure_user(ann, NOON) for _ in range(5)), return_exceptions=True)
    assert [type(error) for error in refused] == [PermissionDenied] * 5
    await pool.execute("UPDATE users SET disabled_at = NULL")
    await users.ensure_user(ann, NOON)


async def test_the_id_of_a_new_user_cannot_be_computed(pool: Any) -> None:
    users = PostgresUserStore(pool)
    for subject in ("ann", str(uuid4())):
        claims = some_claims(subject)
        user_id = (await users.ensure_user(claims, NOON)).user_id
        assert user_id.version == 4
        assert user_id not in (uuid5(NAMESPACE_URL, f"{claims.issuer}|{subject}"), subject)
        assert str(user_id) != subject
        assert (await PostgresUserStore(pool).ensure_user(claims, NOON)).user_id == user_id


@pytest.mark.parametrize("subject", ["ann", "3f2504e0-4f89-41d3-9a0c-0305e82c3301"])
async def test_a_user_of_an_earlier_release_keeps_the_id_and_belongs_to_its_issuer(
    pool: Any, subject: str
) -> None:
    claims = some_claims(subject)
    computed = uuid5(NAMESPACE_URL, f"{claims.issuer}|{subject}") if subject == "ann" else UUID(subject)
    await pool.execute("INSERT INTO users (id, subject) VALUES ($1, $2)", computed, subject)
    assert (await PostgresUserStore(pool).ensure_user(claims, NOON)).user_id == computed
    if subject == "ann":
        with pytest.raises(PermissionDenied):
            await PostgresUserStore(pool).ensure_user(replace(claims, issuer="https://other.example"), NOON)


async def test_a_subject_of_another_issuers_user_is_refused(pool: Any) -> None:
    users, ann = PostgresUserStore(pool), some_claims("ann")
    await users.ensure_user(ann, NOON)
    for _ in range(2):
        with pytest.raises(PermissionDenied):
            await users.ensure_user(replace(ann, issuer="https://other.example"), NOON)


async def test_a_subject_that_looks_like_another_users_id_is_another_user(pool: Any) -> None:
    users = PostgresUserStore(pool)
    ann = await users.ensure_user(some_claims("ann"), NOON)
    other = await users.ensure_user(some_claims(str(ann.user_id)), NOON)
    assert other.user_id != ann.user_id


async def test_a_disabled_user_is_refused_within_a_minute_and_accepted_once_enabled_again(pool: Any) -> None:
    users, ann = PostgresUserStore(pool), some_claims("ann")
    await users.ensure_user(ann, NOON)
    await pool.execute("UPDATE users SET disabled_at = now()")
    assert timedelta(seconds=60) >= TRUSTED_FOR
    with pytest.raises(PermissionDenied):
        await users.ensure_user(ann, NOON + TRUSTED_FOR)
    with pytest.raises(PermissionDenied):
        await PostgresUserStore(pool).ensure_user(ann, NOON)
    await pool.execute("UPDATE users SET disabled_at = NULL")
    await users.ensure_user(ann, NOON + TRUSTED_FOR)


async def test_the_email_is_the_one_of_the_latest_call_whose_token_has_one(pool: Any) -> None:
    users, subject = PostgresUserStore(pool), f"ann-{uuid4()}"
    found = []
    # All within the time for which a check is valid: a changed email does not wait for its end.
    for email in (None, "ann@example.com", None, "ann@example.org", "ann@example.org", "ann@example.com"):
        caller = await users.ensure_user(some_claims(subject, email), NOON)
        assert caller.email == email
        found.append(await pool.fetchval("SELECT email FROM users WHERE id = $1", caller.user_id))
    assert found == [None, *["ann@example.com"] * 2, *["ann@example.org"] * 2, "ann@example.com"]


async def test_a_user_that_was_checked_recently_is_not_queried_again(pool: Any) -> None:
    users, ann = PostgresUserStore(pool), some_claims("ann", "ann@example.com")
    known = await users.ensure_user(ann, NOON)
    await pool.close()
    just_before = NOON + TRUSTED_FOR - timedelta(seconds=1)
    assert await users.ensure_user(ann, just_before) == known
    assert await users.ensure_user(replace(ann, email=None), just_before) == replace(known, email=None)
