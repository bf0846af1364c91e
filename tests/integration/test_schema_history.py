"""From every released schema, with rows of real use, to the newest one: nothing is lost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from server.db import migrate
from tests.support.hub import a_workflow, finished, running_hub, start
from tests.support.postgres import Postgres

#: Migrations that were released, oldest first; the last one is the newest schema.
RELEASED = [
    "2026-11-25T00:00:00:000000",
    "2026-11-25T07:00:00:000000",
    "2026-11-25T11:00:00:000000",
    "2026-11-25T12:00:00:000000",
    "2026-11-25T13:00:00:000000",
    "2026-11-25T14:00:00:000000",
    "2026-11-26T10:00:00:000000",
    "2026-11-26T11:00:00:000000",
    "2026-11-26T11:30:00:000000",
    "2026-11-26T13:00:00:000000",
    "2026-11-26T13:30:00:000000",
    "2026-11-27T01:00:00:000000",
    "2026-11-27T01:30:00:000000",
    "2026-11-27T02:00:00:000000",
    "2026-11-27T03:00:00:000000",
    "2026-11-27T04:00:00:000000",
    "2026-11-27T05:00:00:000000",
    "2026-11-27T12:00:00:000000",
    "2026-11-27T12:30:00:000000",
    "2026-11-27T18:30:00:000000",
    "2026-11-28T01:00:00:000000",
    "2026-11-28T17:00:00:000000",
    "2026-11-28T23:00:00:000000",
    "2026-11-28T23:10:00:000000",
    "2026-11-28T23:20:00:000000",
]
#: Views that were tables.
VIEWS = {"draft_files", "proposal_contents"}
#: Tables whose rows are not kept.
PASSING = {"quotas", "replicas", "migration"}


async def rows_of(dsn: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, and of every view that was one, by name."""
    connection = await asyncpg.connect(dsn)
    try:
        names = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
            "UNION SELECT viewname FROM pg_views WHERE viewname = ANY($1)",
            list(VIEWS),
        )
        found = {}
        for name in sorted({row["tablename"] for row in names} - PASSING):
            rows = await connection.fetch(f"SELECT to_jsonb(t)::text AS row FROM {name} t ORDER BY 1")
            found[name] = [json.loads(row["row"]) for row in rows]
        return found
    finally:
        await connection.close()


async def use(dsn: str) -> dict[str, Any]:
    """Use the hub; returns `answers`."""
    async with running_hub(dsn) as hub, hub.client() as client:
        workflow = await a_workflow(client, files={"/a.md": "a", "/b.md": "b"})
        for prompt in (
            "[[replay:short_run]]",
            "[[replay:error_mid_stream]]",
            "[[replay:short_run silent=5]]",
        ):
            started = await start(client, prompt, workflow)
            if "silent" in prompt:
                await client.call("POST", f"/api/refinements/{started['thread_id']}/cancel", {})
            await finished(client, started)
    return await answers(dsn)


async def answers(dsn: str) -> dict[str, Any]:
    """The responses of a hub about everything stored."""
    async with running_hub(dsn) as hub, hub.client() as client:
        stored: dict[str, Any] = {}
        for item in (await client.call("GET", "/api/proposals"))["items"]:
            thread = item["thread_id"]
            stored[thread] = [
                await client.call("GET", f"/api/proposals/{item['id']}"),
                await client.call("GET", f"/api/refinements/{thread}"),
                await client.call("GET", f"/api/refinements/{thread}/events?limit=1000"),
            ]
            workflow = item["workflow_id"]
            stored[workflow] = await client.call("GET", f"/api/workflows/{workflow}")
    return stored


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def used(postgres: Postgres) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The DSN of a database of the newest schema with rows of real use, and what a hub answers about them."""
    async with postgres.fresh(migrated=True) as dsn:
        yield dsn, await use(dsn)


async def test_all_released_migrations_exist_under_their_ids(empty_database: str) -> None:
    assert [state.id for state in await migrate.status(empty_database)] == RELEASED


@pytest.mark.parametrize("released", range(1, len(RELEASED)))
async def test_an_earlier_schema_with_rows_migrates_to_the_newest_without_loss(
    postgres: Postgres, used: tuple[str, dict[str, Any]], released: int
) -> None:
    newest, before_down = used
    assert len(before_down) == 4
    async with postgres.fresh(migrated=True, copy_of=newest) as dsn:
        # Back to what that release had, with the rows that it would have made.
        await migrate.down(dsn, len(RELEASED) - released)
        before = await rows_of(dsn)
        assert before["events"]
        assert len(before["proposals"]) == 3
        assert await migrate.up(dsn) == RELEASED[released:]
        after = await rows_of(dsn)
        for table, rows in before.items():
            known = [{name: row[name] for name in rows[0]} for row in after[table]] if rows else []
            assert known == rows, table
        assert await answers(dsn) == before_down
