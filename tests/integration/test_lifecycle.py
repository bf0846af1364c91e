"""What ends a running hub."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.hub import running_hub


async def test_a_hub_whose_journal_is_no_longer_written_ends(database: str) -> None:
    async with running_hub(database) as hub:
        (writer,) = (task for task in asyncio.all_tasks() if task.get_name() == "journal writer")
        writer.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(ExceptionGroup, match="unhandled errors") as failed:
                await hub.hub.failed
        assert "journal writer" in str(failed.value.exceptions[0])


async def test_a_hub_that_is_stopped_has_not_failed(database: str) -> None:
    async with running_hub(database) as hub:
        failed = hub.hub.failed
    assert not failed.done()
