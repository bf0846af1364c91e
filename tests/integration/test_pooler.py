"""Through a real pgbouncer in transaction mode: everything works, and LISTEN needs the direct way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from pydantic import SecretStr

from server.db import migrate
from server.db.pool import open_pool
from server.db.proposals import PostgresProposalStore
from server.db.runs import PostgresRunStore
from server.domain.runs.lease import Renewed
from server.wakeups.postgres import PostgresWakeups
from tests.integration.replicas import Replica, read_events, replica
from tests.support.hand_clock import until
from tests.support.hub import finished, running_hub, start
from tests.support.pooler import pooler
from tests.support.postgres import Postgres
from tests.support.stored import a_run, a_user, a_workflow


@pytest.fixture
async def pooled(database: str) -> AsyncIterator[str]:
    async with pooler(database) as dsn:
        yield dsn


async def test_stores_work_side_by_side_without_prepared_statements(pooled: str) -> None:
    async with open_pool(pooled, max_size=20, statement_cache_size=0) as pool:
        runs = PostgresRunStore(pool, owner="replica-1", lease_ttl_s=15)
        proposals = PostgresProposalStore(pool, owner="replica-1", lease_ttl_s=15)

        async def one() -> None:
            user = await a_user(pool)
            lease = await a_run(pool, user, await a_workflow(pool, user))
            for _ in range(5):
                assert await runs.renew([(lease.thread_id, lease.fence)]) == {lease.thread_id: Renewed()}
                found = await proposals.get(user, lease.proposal_id)
                assert found is not None

        async with asyncio.timeout(60):
            await asyncio.gather(*(one() for _ in range(20)))


async def test_migrations_work_through_it(postgres: Postgres, empty_database: str) -> None:
    async with pooler(empty_database) as pooled:
        await asyncio.gather(migrate.up(pooled), migrate.up(pooled))
        assert all(state.applied for state in await migrate.status(pooled))


async def follow_a_run(here: Replica, there: Replica) -> None:
    """A run of one replica, which the other one follows to its end."""
    run = await here.run()
    reader = asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 0)))
    for number in range(20):
        await run.say(str(number))
    await run.finish()
    async with asyncio.timeout(60):
        assert [event.seq for event in await reader] == list(range(1, 23))


async def test_wakeups_use_the_direct_connection(database: str, pooled: str) -> None:
    def direct(pool: object) -> PostgresWakeups:
        return PostgresWakeups(pool, database)

    async with (
        replica(pooled, direct, statement_cache_size=0) as here,
        replica(pooled, direct, statement_cache_size=0) as there,
    ):
        await asyncio.gather(here.told(), there.told())
        await follow_a_run(here, there)


async def test_listening_through_it_is_detected_and_polling_continues(pooled: str) -> None:
    def wrong(pool: object) -> PostgresWakeups:
        return PostgresWakeups(pool, pooled, answer_s=0.3, max_retry_s=0.1)

    async with (
        replica(pooled, wrong, statement_cache_size=0) as here,
        replica(pooled, wrong, statement_cache_size=0, poll_s=0.05) as there,
    ):
        wakeups = there.wakeups
        assert isinstance(wakeups, PostgresWakeups)
        await follow_a_run(here, there)
        # LISTEN was taken without an error, again and again; the self-test never passed.
        await until(lambda: wakeups.connections >= 3)
        assert not wakeups.healthy


async def test_the_hub_works_through_it(database: str, pooled: str) -> None:
    async with running_hub(
        pooled, database_direct_url=SecretStr(database), lease_ttl_s=5, database_max_connections=8
    ) as hub:
        await until(lambda: hub.core.wakeups.healthy)
        async with hub.client(f"{uuid4()}@example.com") as client:
            started = [await start(client, "[[replay:short_run]]") for _ in range(4)]
            proposals = await asyncio.gather(*(finished(client, one) for one in started))
    assert {proposal["status"] for proposal in proposals} == {"completed"}


async def test_the_hub_works_through_it_without_being_asked_to(pooled: str) -> None:
    """No direct address: the pool notices, and readers on another replica wait for a poll."""
    async with (
        running_hub(pooled, lease_ttl_s=5, database_max_connections=8) as hub,
        running_hub(pooled, lease_ttl_s=5, database_max_connections=8) as other,
        hub.client() as client,
        other.client() as reader,
    ):
        started = [await start(client, "[[replay:short_run]]") for _ in range(4)]
        proposals = await asyncio.gather(*(finished(reader, one) for one in started))
        assert not hub.core.wakeups.healthy
    assert {proposal["status"] for proposal in proposals} == {"completed"}


async def test_a_pool_finds_out_that_its_database_is_behind_one(database: str, pooled: str) -> None:
    statement = "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"
    for dsn, prepared in ((database, True), (pooled, False)):
        async with open_pool(dsn) as pool, pool.acquire() as connection:
            await connection.fetchval(statement)
            assert bool(await connection.fetchval(statement)) == prepared
