"""Connections that go back to the pool, against a real server."""

from __future__ import annotations

import asyncio

import pytest

from server.db.pool import open_pool


async def test_a_transaction_that_is_left_open_is_rolled_back_before_the_next_use(database: str) -> None:
    async with open_pool(database, max_size=1) as pool:
        async with pool.acquire() as connection:
            await connection.execute("CREATE TEMPORARY TABLE numbers (n int)")
            await connection.execute("BEGIN")
            await connection.execute("INSERT INTO numbers VALUES (1)")
        assert await pool.fetchval("SELECT count(*) FROM numbers") == 0


async def test_uses_that_are_cancelled_at_any_turn_leave_the_connection_to_the_next(database: str) -> None:
    async with open_pool(database, max_size=1) as pool:
        for turns in range(8):
            use = asyncio.create_task(pool.fetchval("SELECT pg_sleep(60)"))
            for _ in range(turns):
                await asyncio.sleep(0)
            use.cancel()
            with pytest.raises(asyncio.CancelledError):
                await use
            assert await pool.fetchval("SELECT 1") == 1
