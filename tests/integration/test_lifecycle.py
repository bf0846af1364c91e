"""What ends a running hub."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.supervision import PartFailed
from tests.support.hub import finished, running_hub, start


async def test_a_hub_whose_journal_is_no_longer_written_ends(database: str) -> None:
    async with running_hub(database) as hub:
        (writer,) = (task for task in asyncio.all_tasks() if task.get_name() == "journal writer")
        writer.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(PartFailed, match="the journal writer failed"):
                await hub.hub.failed


async def test_a_part_that_fails_is_started_again_and_the_hub_goes_on(
    database: str, pool: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_hub(database) as hub, hub.client() as client:
        # An error that no part expects: the table of the takeovers and renewals is not there.
        await pool.execute("ALTER TABLE runs RENAME TO renamed")
        logged = ""
        async with asyncio.timeout(20):
            while "part_started_again" not in logged:
                await asyncio.sleep(0.05)
                logged += capsys.readouterr().out
        await pool.execute("ALTER TABLE renamed RENAME TO runs")
        assert "UndefinedTableError" in logged
        assert "takeovers" in logged
        proposal = await finished(client, await start(client, "[[replay:short_run]]"))
        assert proposal["status"] == "completed"
        assert not hub.hub.failed.done()


async def test_a_hub_that_is_stopped_has_not_failed(database: str) -> None:
    async with running_hub(database) as hub:
        failed = hub.hub.failed
    assert not failed.done()
