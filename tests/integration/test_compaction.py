"""Compaction of finished runs' journals."""

from __future__ import annotations

import asyncio
from typing import Any

from server.db.compaction import COMPACTED_BYTES
from tests.integration.started_run import StartedRun, started_run
from tests.integration.test_shared_reads import write_tokens


async def rows(pool: Any, on: StartedRun) -> int:
    count: int = await pool.fetchval("SELECT count(*) FROM events WHERE thread_id = $1", on.thread_id)
    return count


async def least_rows(pool: Any, on: StartedRun) -> int:
    """The fewest rows that the journal takes."""
    sizes = "SELECT sum(length(batch) + length(residues)) FROM events WHERE thread_id = $1"
    return int(await pool.fetchval(sizes, on.thread_id)) // COMPACTED_BYTES + 1


async def test_a_journal_is_compacted_once_no_run_ends(pool: Any) -> None:
    async with started_run(pool) as on:
        with on.journal._compaction.ending():
            writing = asyncio.create_task(write_tokens(on, 3000))
            ended = "SELECT finished_at IS NOT NULL FROM runs WHERE thread_id = $1"
            while not await pool.fetchval(ended, on.thread_id):
                await asyncio.sleep(0)
            assert await rows(pool, on) > await least_rows(pool, on)
            assert not writing.done()
        await writing
        assert await rows(pool, on) == await least_rows(pool, on)


async def test_a_journal_is_compacted_though_runs_end_all_the_time(pool: Any) -> None:
    async with started_run(pool) as on:
        with on.journal._compaction.ending():
            await write_tokens(on, 3000)
            assert await rows(pool, on) == await least_rows(pool, on)
