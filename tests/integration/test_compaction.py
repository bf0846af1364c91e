"""Compaction of finished runs' journals."""

from __future__ import annotations

import asyncio
from typing import Any

from server.db.compaction import COMPACTED_BYTES, MAX_WAIT_S
from server.domain.journal.events import Discontinuity, DiscontinuityReason
from tests.integration.started_run import StartedRun, started_run
from tests.integration.test_shared_reads import write_tokens


async def rows(pool: Any, on: StartedRun) -> int:
    count: int = await pool.fetchval("SELECT count(*) FROM events WHERE thread_id = $1", on.thread_id)
    return count


async def least_rows(pool: Any, on: StartedRun) -> int:
    """The fewest rows that the journal takes."""
    sizes = "SELECT sum(length(batch) + length(residues)) FROM events WHERE thread_id = $1"
    return int(await pool.fetchval(sizes, on.thread_id)) // COMPACTED_BYTES + 1


async def ended(pool: Any, on: StartedRun) -> None:
    """Wait for the end of a run."""
    query = "SELECT finished_at IS NOT NULL FROM runs WHERE thread_id = $1"
    while not await pool.fetchval(query, on.thread_id):
        await asyncio.sleep(0)


async def test_a_journal_is_compacted_once_no_run_ends(pool: Any) -> None:
    async with started_run(pool) as on:
        with on.journal._compaction.ending():
            writing = asyncio.create_task(write_tokens(on, 3000))
            await ended(pool, on)
            assert await rows(pool, on) > await least_rows(pool, on)
            assert not writing.done()
        await writing
        assert await rows(pool, on) == await least_rows(pool, on)


async def test_a_journal_is_compacted_though_runs_end_all_the_time(pool: Any) -> None:
    async with started_run(pool) as on:
        with on.journal._compaction.ending():
            await write_tokens(on, 3000)
            assert await rows(pool, on) == await least_rows(pool, on)


async def test_a_journal_is_not_compacted_while_another_run_that_ends_waits_for_its_last_events(
    pool: Any,
) -> None:
    async with started_run(pool) as on, started_run(pool) as other:
        # Both are runs of one process.
        other.journal._compaction = on.journal._compaction
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM runs WHERE thread_id = $1 FOR UPDATE", other.thread_id)
            other.put(Discontinuity(DiscontinuityReason.RECONNECTED))
            other_ends = asyncio.create_task(other.finish())
            writing = asyncio.create_task(write_tokens(on, 3000))
            await ended(pool, on)
            await asyncio.wait({writing}, timeout=MAX_WAIT_S / 2)
            assert not writing.done()
            assert await rows(pool, on) > await least_rows(pool, on)
            assert not other_ends.done()
        await asyncio.gather(writing, other_ends)
        assert await rows(pool, on) == await least_rows(pool, on)
