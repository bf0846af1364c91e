"""Connections that go back to the pool, against a real server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from server.db.errors import database_errors
from server.db.pool import open_pool
from server.domain.access.on_behalf_of import UNKNOWN_CALLERS, for_unknown_caller, on_behalf_of
from server.domain.errors import DatabaseUnavailable


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


async def test_callers_take_turns_when_all_connections_are_in_use(database: str) -> None:
    served: list[str] = []
    async with open_pool(database, max_size=1) as pool:

        async def use(caller: str) -> None:
            on_behalf_of.set(caller)
            async with pool.acquire():
                served.append(caller)
                await asyncio.sleep(0)

        # Tasks begin in this order; each has the context variable for itself.
        await asyncio.gather(*map(use, ("a", "a", "a", "b", "a", "c")))
    assert served == ["a", "a", "b", "c", "a", "a"]


async def test_those_who_are_not_known_yet_take_no_turns_of_the_hub_itself(database: str) -> None:
    served: list[str] = []
    async with open_pool(database, max_size=1) as pool:

        async def look_up(number: int) -> None:
            # On a busy machine some wait too long.
            with suppress(DatabaseUnavailable), for_unknown_caller(bytes([number])), database_errors():
                await pool.fetchval("SELECT 1")
            served.append("unknown")

        async def commit() -> None:
            await pool.fetchval("SELECT 1")
            served.append("hub")

        async with pool.acquire():
            flood = [asyncio.create_task(look_up(number)) for number in range(5 * UNKNOWN_CALLERS)]
            await asyncio.sleep(0)
            own = asyncio.create_task(commit())
            await asyncio.sleep(0)
        await asyncio.gather(own, *flood)
    assert served.index("hub") <= 2 * UNKNOWN_CALLERS


async def test_connections_to_a_server_that_became_read_only_are_replaced(database: str) -> None:
    """Those of before may lead to a server that is no longer the primary, and would stay there."""

    async def write(pool: Any) -> None:
        with database_errors():
            await pool.execute("CREATE TABLE IF NOT EXISTS written (n int)")

    async with open_pool(database, max_size=2) as pool:
        async with pool.acquire() as one, pool.acquire() as other:
            for connection in (one, other):
                await connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        with pytest.raises(DatabaseUnavailable):
            await write(pool)
        for _ in range(2):
            await write(pool)
        async with pool.acquire() as one, pool.acquire() as other:
            for connection in (one, other):
                assert await connection.fetchval("SHOW transaction_read_only") == "off"


async def test_connections_to_a_read_only_server_are_replaced_once_a_second_at_most(database: str) -> None:
    """Each statement that it refuses would otherwise make all others connect again."""
    async with open_pool(database, max_size=1) as pool:
        first = pool.generation
        # Without a wait between the two.
        await pool.on_read_only()
        replaced = pool.generation
        await pool.on_read_only()
        assert pool.generation == replaced != first
