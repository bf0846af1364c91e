"""What ends a running hub."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncpg
import pytest

from server.supervision import PartFailed
from tests.support.hub import finished, running_hub, start
from tests.support.postgres import Postgres


async def test_a_hub_whose_journal_is_no_longer_written_ends(database: str) -> None:
    async with running_hub(database) as hub:
        (writer,) = (task for task in asyncio.all_tasks() if task.get_name() == "journal writer")
        writer.cancel()
        async with asyncio.timeout(60):
            with pytest.raises(PartFailed, match="the journal writer failed"):
                await hub.hub.failed


async def test_a_part_that_fails_is_started_again_and_the_hub_goes_on(
    database: str, pool: Any, logged: list[Any]
) -> None:
    async with running_hub(database) as hub, hub.client() as client:
        # An error that no part expects: the table of the takeovers and renewals is not there.
        await pool.execute("ALTER TABLE runs RENAME TO renamed")
        async with asyncio.timeout(60):
            while not (restarts := [entry for entry in logged if entry["event"] == "part_started_again"]):
                await asyncio.sleep(0.05)
        await pool.execute("ALTER TABLE renamed RENAME TO runs")
        assert restarts[0]["fault"] == "UndefinedTableError"
        assert restarts[0]["part"] == "takeovers"
        proposal = await finished(client, await start(client, "[[replay:short_run]]"))
        assert proposal["status"] == "completed"
        assert not hub.hub.failed.done()


async def test_a_hub_that_is_stopped_has_not_failed(database: str) -> None:
    async with running_hub(database) as hub:
        failed = hub.hub.failed
    assert not failed.done()


async def test_a_hub_outlives_an_operator_who_locks_its_tables(database: str) -> None:
    """As a migration does that alters two tables: a statement that waits crosswise gets a deadlock."""
    async with running_hub(database) as hub, hub.client() as client:
        live = await start(client, "[[replay:short_run speed=2]]")
        operator = await asyncpg.connect(database)
        for first, second in (("runs", "proposals"), ("events", "runs"), ("proposals", "runs")):
            # The operator may be the one that the server ends.
            with contextlib.suppress(asyncpg.DeadlockDetectedError):
                async with operator.transaction():
                    await operator.execute(f"LOCK TABLE {first}")
                    await asyncio.sleep(1.2)
                    await operator.execute(f"LOCK TABLE {second}")
        await operator.close()
        assert (await finished(client, live))["status"] == "completed"
        assert not hub.hub.failed.done()


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_a_hub_works_whatever_the_databases_default_isolation_level_is(
    postgres: Postgres, database: str, level: str
) -> None:
    await postgres.set_default_isolation(database, level)
    async with running_hub(database) as hub, running_hub(database) as other, hub.client() as client:
        started = [await start(client, "[[replay:short_run]]") for _ in range(4)]
        async with other.client() as reader:
            proposals = await asyncio.gather(*(finished(reader, one) for one in started))
        assert {proposal["status"] for proposal in proposals} == {"completed"}
        assert not hub.hub.failed.done()
        assert not other.hub.failed.done()
