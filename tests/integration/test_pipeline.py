"""Statements that are sent together, on a connection that the driver has made."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from server.db.dedicated_connection import DedicatedConnection
from server.db.errors import is_unavailable
from server.db.pipeline import Outcome, parameter
from server.db.pool import open_pool
from tests.support.hand_clock import until
from tests.support.proxy import through_a_proxy

_INSERT = "INSERT INTO numbers SELECT $1::int"
_INSERT_AGAIN = "INSERT INTO numbers SELECT number FROM numbers WHERE number = $1::int"
_DIVIDE = "INSERT INTO numbers SELECT 6 / $1::int"
_WAIT = "INSERT INTO numbers SELECT $1::int FROM pg_sleep(60)"
_COUNT = "SELECT count(*) FROM numbers"


def of(number: int) -> bytes:
    return parameter(number.to_bytes(4, "big"))


@pytest.fixture
async def kept(pool: Any) -> DedicatedConnection:
    await pool.execute("CREATE TABLE numbers (number int)")
    return DedicatedConnection(pool, timeout_s=60)


async def stored(pool: Any) -> int:
    return int(await pool.fetchval(_COUNT))


async def test_each_execution_tells_how_many_rows_it_inserted(pool: Any, kept: DedicatedConnection) -> None:
    assert await kept.insert(_INSERT, [of(1)]) == [1]
    assert await kept.insert(_INSERT, [of(2), of(2), of(3)]) == [1, 1, 1]
    assert await kept.insert(_INSERT_AGAIN, [of(2), of(9), of(1)]) == [2, 0, 1]
    assert await stored(pool) == 7
    kept.close()


async def test_what_is_sent_together_is_one_transaction(pool: Any, kept: DedicatedConnection) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await kept.insert(_DIVIDE, [of(1), of(0), of(2)])
    assert await stored(pool) == 0
    assert await kept.insert(_DIVIDE, [of(1)]) == [1]
    kept.close()


async def test_the_next_ones_are_sent_as_an_answer_comes(pool: Any, kept: DedicatedConnection) -> None:
    assert not kept.send(_INSERT, [of(1)], lambda _: None)
    assert await kept.insert(_INSERT, [of(1)]) == [1]
    outcomes: list[Outcome] = []

    def go_on(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if len(outcomes) < 3:
            assert kept.send(_INSERT, [of(2), of(3)], go_on)

    go_on([])
    await until(lambda: len(outcomes) == 3)
    assert outcomes[1:] == [[1, 1], [1, 1]]
    assert await stored(pool) == 5
    kept.close()
    assert not kept.send(_INSERT, [of(4)], go_on)


async def test_an_error_is_the_outcome_of_what_was_sent(pool: Any, kept: DedicatedConnection) -> None:
    assert await kept.insert(_DIVIDE, [of(1)]) == [1]
    outcomes: list[Outcome] = []
    assert kept.send(_DIVIDE, [of(0)], outcomes.append)
    await until(lambda: bool(outcomes))
    assert isinstance(outcomes[0], asyncpg.DivisionByZeroError)
    await kept.on_failed()
    assert not kept.send(_DIVIDE, [of(1)], outcomes.append)
    assert await stored(pool) == 1


async def test_the_driver_uses_the_connection_between_two_of_them(
    pool: Any, kept: DedicatedConnection
) -> None:
    pids = set()
    for number in range(1, 4):
        assert await kept.insert(_INSERT, [of(number)]) == [1]
        ((pid, count),) = await kept.fetch("SELECT pg_backend_pid(), count(*) FROM numbers")
        assert count == number
        pids.add(pid)
    assert len(pids) == 1
    kept.close()


async def test_notices_and_changed_settings_beside_the_answer_are_passed_over(
    pool: Any, kept: DedicatedConnection
) -> None:
    await pool.execute("""
        CREATE FUNCTION speak() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN
            RAISE WARNING 'so many numbers';
            PERFORM set_config('application_name', 'spoken', false);
            RETURN NEW;
        END $$
    """)
    await pool.execute("CREATE TRIGGER speaks BEFORE INSERT ON numbers FOR EACH ROW EXECUTE FUNCTION speak()")
    assert await kept.insert(_INSERT, [of(1), of(2)]) == [1, 1]
    assert await kept.insert(_INSERT, [of(3)]) == [1]
    kept.close()


async def test_a_connection_that_the_server_ends_is_replaced(pool: Any, kept: DedicatedConnection) -> None:
    ((pid,),) = await kept.fetch("SELECT pg_backend_pid()")
    assert await kept.insert(_INSERT, [of(1)]) == [1]
    waiting = asyncio.create_task(kept.insert(_WAIT, [of(2)]))
    await pool.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    with pytest.raises(Exception) as ended:  # noqa: PT011 - one of several
        await waiting
    assert is_unavailable(ended.value)
    assert await kept.insert(_INSERT, [of(3)]) == [1]
    assert await stored(pool) == 2
    kept.close()


async def test_nobody_waits_longer_than_the_limit_for_an_answer(database: str) -> None:
    async with through_a_proxy(database) as (dsn, between), open_pool(dsn) as pool:
        await pool.execute("CREATE TABLE numbers (number int)")
        kept = DedicatedConnection(pool, timeout_s=1)
        assert await kept.insert(_INSERT, [of(1)]) == [1]
        between.open.clear()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await kept.insert(_INSERT, [of(2)])
        assert time.monotonic() - began < 60
        between.open.set()
        await until(lambda: kept._connection is None)
        assert await kept.insert(_INSERT, [of(3)]) == [1]
        kept.close()
