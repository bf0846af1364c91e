"""What stores do while the database is away, and once it is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from server.db import migrate
from server.db.access import PostgresAccessStore
from server.db.engine import ENGINE, NoConnection
from server.db.pool import open_pool
from server.db.proposals import PostgresProposalStore
from server.db.tables import Users
from server.db.users import PostgresUserStore
from server.db.workflows import PostgresWorkflowStore
from server.domain.access.sharing import AccessType
from server.domain.errors import DatabaseUnavailable
from server.domain.model import Principal
from server.embedded_postgres.server import embedded
from tests.support.hub import running_hub
from tests.support.postgres import Postgres
from tests.support.proxy import through_a_proxy
from tests.support.stored import NOON, a_run, a_user, a_workflow, some_claims


async def test_stores_raise_unavailable_during_an_outage_and_work_after_it(tmp_path: Path) -> None:
    async with embedded(tmp_path) as dsn:
        await migrate.up(dsn)
    # Opened without a server; a start of the hub does not need one.
    async with open_pool(dsn, min_size=0, connect_timeout_s=2) as pool:
        proposals = PostgresProposalStore(pool, owner="r", lease_ttl_s=5)
        access = PostgresAccessStore(pool)
        workflows, users = PostgresWorkflowStore(pool), PostgresUserStore(pool)
        ann = Principal(uuid4(), "ann")

        async def all_unavailable() -> None:
            calls: list[Callable[[], Awaitable[Any]]] = [
                lambda: proposals.get(ann, uuid4()),
                lambda: proposals.refinement(ann, uuid4()),
                lambda: proposals.list(ann, limit=1, token=None),
                lambda: access.access_type(ann, uuid4()),
                lambda: access.filter_authorized([(uuid4(), uuid4())]),
                lambda: access.grant(ann, uuid4(), uuid4(), AccessType.VIEWER),
                lambda: access.resolve_link(b"x" * 32),
                lambda: workflows.get(ann, uuid4()),
                lambda: workflows.list(ann, limit=1, token=None),
                lambda: a_workflow(pool, ann),
                lambda: users.ensure_user(some_claims("bob"), NOON),
            ]
            for call in calls:
                with pytest.raises(DatabaseUnavailable):
                    await call()

        await all_unavailable()
        async with embedded(tmp_path):
            ann = await users.ensure_user(some_claims("ann"), NOON)
            lease = await a_run(pool, ann, await a_workflow(pool, ann))
        await all_unavailable()  # connections that were open are dead
        async with embedded(tmp_path):
            found = await proposals.get(ann, lease.proposal_id)
            assert found is not None
            assert found.id == lease.proposal_id


async def test_a_killed_connection_is_replaced(database: str, postgres: Postgres) -> None:
    async with open_pool(database, max_size=1) as pool:
        users = PostgresUserStore(pool)
        waiting = asyncio.create_task(pool.execute("SELECT pg_sleep(60)"))
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        admin = await asyncpg.connect(database)
        try:
            async with asyncio.timeout(60):
                while not await admin.fetch(kill):
                    await asyncio.sleep(0.01)
        finally:
            await admin.close()
        with pytest.raises(asyncpg.PostgresError):
            await waiting
        await users.ensure_user(some_claims("ann"), NOON)


async def test_a_query_that_takes_too_long_counts_as_an_outage(database: str) -> None:
    async with open_pool(database, max_size=2, command_timeout_s=2.0) as pool:
        blocker = await asyncpg.connect(database)
        try:
            transaction = blocker.transaction()
            await transaction.start()
            await blocker.execute("LOCK TABLE users")
            with pytest.raises(DatabaseUnavailable):
                await PostgresUserStore(pool).ensure_user(some_claims("ann"), NOON)
            await transaction.rollback()
        finally:
            await blocker.close()
        await PostgresUserStore(pool).ensure_user(some_claims("bob"), NOON)


async def test_a_pool_closes_though_a_connection_is_in_use(database: str) -> None:
    async with asyncio.timeout(60):
        async with open_pool(database, close_timeout_s=0.1) as pool:
            connection = await pool.acquire()
        with pytest.raises(asyncpg.InterfaceError):
            await connection.fetchval("SELECT 1")


async def test_the_pool_has_an_application_name_and_works_without_prepared_statements(
    database: str,
) -> None:
    async with open_pool(database, statement_cache_size=0, application_name="who") as pool:
        assert await pool.fetchval("SELECT current_setting('application_name')") == "who"
        ann = await a_user(pool)
        await a_run(pool, ann, await a_workflow(pool, ann))
        assert await pool.fetchval("SELECT count(*) FROM pg_prepared_statements") <= 1


async def test_piccolo_queries_run_on_the_connection_that_the_task_uses(pool: Any) -> None:
    with pytest.raises(NoConnection):
        await Users.select()
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        with ENGINE.using(connection):
            await Users.insert(Users(id=uuid4(), subject="ann", created_at=NOON))
            assert [row["subject"] for row in await Users.select(Users.subject)] == ["ann"]

            async def elsewhere() -> None:
                with ENGINE.using(connection):
                    pass
                async with pool.acquire() as other:
                    with ENGINE.using(other):
                        assert await Users.count() == 0

            await asyncio.create_task(elsewhere())
            assert await Users.count() == 1
        await transaction.rollback()
    assert await pool.fetchval("SELECT count(*) FROM users") == 0


async def test_a_hub_whose_database_does_not_answer_says_so_in_time(database: str) -> None:
    async with (
        through_a_proxy(database) as (dsn, between),
        running_hub(dsn, database_max_connections=2) as hub,
        httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=120) as http,
    ):
        await until_ready(http)
        between.open.clear()
        try:
            began = time.monotonic()
            answers = await asyncio.gather(*(http.get("/readyz") for _ in range(60)))
            assert {answer.status_code for answer in answers} == {503}
            # One after the other, they would take a minute and more.
            assert time.monotonic() - began < 30
            began = time.monotonic()
            headers = {"Authorization": f"Bearer {hub.token()}"}
            calls = [http.post("/api/workflows", json={"name": "x"}, headers=headers) for _ in range(20)]
            assert {answer.status_code for answer in await asyncio.gather(*calls)} == {503}
            assert time.monotonic() - began < 30
        finally:
            between.open.set()
        await until_ready(http)


async def until_ready(http: httpx.AsyncClient, degraded: Sequence[str] = ()) -> None:
    """Wait until the hub is ready, and lacks this; its database has a second to answer the question."""
    async with asyncio.timeout(60):
        while (answer := await http.get("/readyz")).json().get("degraded") != [*degraded]:
            await asyncio.sleep(0.05)
    assert answer.status_code == 200


async def test_a_hub_whose_database_is_read_only_says_so_and_serves_what_is_stored(database: str) -> None:
    async with (
        running_hub(database) as hub,
        httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as http,
    ):
        headers = {"Authorization": f"Bearer {hub.token()}"}
        made = await http.post("/api/workflows", json={"name": "x"}, headers=headers)
        operator = await asyncpg.connect(database, server_settings={"default_transaction_read_only": "off"})
        try:
            name = await operator.fetchval("SELECT quote_ident(current_database())")
            await operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            await operator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await until_ready(http, degraded=["database_read_only"])
            written = await http.post("/api/workflows", json={"name": "y"}, headers=headers)
            read = await http.get(f"/api/workflows/{made.json()['id']}", headers=headers)
            assert (written.status_code, read.status_code) == (503, 200)
            await operator.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            await until_ready(http, degraded=[])
            # A connection that was made meanwhile is read-only still: its first write finds out.
            async with asyncio.timeout(60):
                written = await http.post("/api/workflows", json={"name": "y"}, headers=headers)
                while written.status_code == 503:
                    assert int(written.headers["Retry-After"]) > 0
                    written = await http.post("/api/workflows", json={"name": "y"}, headers=headers)
            assert written.status_code == 201
        finally:
            await operator.close()
