"""Compaction of finished runs' journals."""

from __future__ import annotations

import asyncio
from typing import Any

from server.db.compaction import MAX_WAIT_S
from server.domain.journal.events import Discontinuity, DiscontinuityReason
from tests.integration.started_run import started_run
from tests.integration.test_shared_reads import write_tokens
from tests.support.stored import compacted, rows_of


async def test_a_journal_is_compacted_once_no_run_ends_and_its_run_does_not_wait_for_that(pool: Any) -> None:
    async with started_run(pool) as on:
        with on.journal._compaction.ending():
            await write_tokens(on, 3000)
            assert await rows_of(pool, on.thread_id) > 4
        await compacted(pool, on.thread_id)


async def test_a_journal_is_compacted_though_runs_end_all_the_time(pool: Any) -> None:
    async with started_run(pool) as on:
        with on.journal._compaction.ending():
            await write_tokens(on, 3000)
            await compacted(pool, on.thread_id)


async def test_a_journal_is_not_compacted_while_another_run_that_ends_waits_for_its_last_events(
    pool: Any,
) -> None:
    async with started_run(pool) as on, started_run(pool) as other:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM runs WHERE thread_id = $1 FOR UPDATE", other.thread_id)
            # Both are runs of one process.
            other.journal._compaction = on.journal._compaction
            other.put(Discontinuity(DiscontinuityReason.RECONNECTED))
            other_ends = asyncio.create_task(other.finish())
            await write_tokens(on, 3000)
            before = await rows_of(pool, on.thread_id)
            waits = asyncio.create_task(compacted(pool, on.thread_id))
            await asyncio.wait({waits}, timeout=MAX_WAIT_S / 2)
            assert await rows_of(pool, on.thread_id) == before > 4
            assert not other_ends.done()
        await asyncio.gather(other_ends, waits)


async def test_a_journal_that_cannot_be_compacted_keeps_no_other_waiting(pool: Any) -> None:
    async with started_run(pool) as on, started_run(pool) as other:
        other.journal._compaction = on.journal._compaction
        await pool.execute(
            "ALTER TABLE events ADD CONSTRAINT refused CHECK (last_seq - first_seq < 2000) NOT VALID"
        )
        try:
            await write_tokens(on, 3000)
            await write_tokens(other, 1000)
            before = await rows_of(pool, on.thread_id)
            await compacted(pool, other.thread_id)
            assert await rows_of(pool, on.thread_id) == before
        finally:
            await pool.execute("ALTER TABLE events DROP CONSTRAINT refused")
