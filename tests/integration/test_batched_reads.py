"""Reads that share a statement, with a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from server.db.batched_reads import MAX_READS, BatchedReads
from server.db.pool import open_pool
from server.db.proposals import PostgresProposalStore
from server.domain.access.sharing import AccessType
from server.domain.errors import DatabaseUnavailable
from tests.support.hand_clock import until
from tests.support.stored import a_run, a_user, a_workflow

#: The number asked for, if it is even, and the beginning of the statement, which its reads share.
EVEN = """
SELECT number, asked, statement_timestamp() AS began
FROM unnest($1::bigint[]) WITH ORDINALITY AS w (asked, number) WHERE asked % 2 = 0
"""
#: The same, once nobody holds the lock of that number.
LOCKED = f"SELECT e.*, pg_advisory_xact_lock_shared(asked) FROM ({EVEN}) AS e"
#: Fails for 0.
QUOTIENT = "SELECT number, 1 / asked FROM unnest($1::bigint[]) WITH ORDINALITY AS w (asked, number)"


@pytest.fixture
async def reads(pool: Any) -> BatchedReads:
    await pool.fetchval("SELECT 1")
    return BatchedReads(pool, EVEN)


@pytest.fixture
async def other(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside the pool."""
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def test_the_reads_of_a_turn_of_the_loop_get_their_rows_from_one_statement(reads: BatchedReads) -> None:
    rows = await asyncio.gather(*map(reads.row, (4, 7, 2, 4)))
    assert [row and row["asked"] for row in rows] == [4, None, 2, 4]
    assert len({row["began"] for row in rows if row}) == 1


async def test_so_many_reads_share_a_statement(reads: BatchedReads) -> None:
    rows = await asyncio.gather(*(reads.row(2 * number) for number in range(MAX_READS + 1)))
    began = [row["began"] for row in rows if row]
    assert len(set(began[:MAX_READS])) == 1
    assert began[MAX_READS] not in began[:MAX_READS]


async def test_reads_that_come_later_share_the_next_statement_which_waits_for_no_answer(
    pool: Any, other: asyncpg.Connection
) -> None:
    reads = BatchedReads(pool, LOCKED)
    await other.fetchval("SELECT pg_advisory_lock(2)")
    stuck = asyncio.create_task(reads.row(2))
    await until(lambda: not reads._beginning and bool(reads._statements))
    rows = await asyncio.gather(reads.row(4), reads.row(6))
    assert not stuck.done()
    await other.fetchval("SELECT pg_advisory_unlock(2)")
    began = [row["began"] for row in (*rows, await stuck) if row]
    assert began[0] == began[1] != began[2]


async def test_a_caller_who_leaves_takes_nothing_from_the_others(reads: BatchedReads) -> None:
    for turns in range(3):
        leaving, staying = (asyncio.create_task(reads.row(number)) for number in (2, 4))
        for _ in range(turns):
            await asyncio.sleep(0)
        leaving.cancel()
        row = await staying
        assert row is not None
        assert row["asked"] == 4
        assert leaving.cancelled()


async def test_a_statement_that_fails_fails_its_reads_alone(pool: Any) -> None:
    reads = BatchedReads(pool, QUOTIENT)
    failed = await asyncio.gather(reads.row(1), reads.row(0), return_exceptions=True)
    assert [type(each) for each in failed] == [asyncpg.DivisionByZeroError] * 2
    assert await reads.row(1) is not None


async def test_no_database_is_unavailable_to_every_read(database: str) -> None:
    async with open_pool(database) as pool:
        reads = BatchedReads(pool, EVEN)
    # The pool is closed.
    failed = await asyncio.gather(reads.row(2), reads.row(4), return_exceptions=True)
    assert [type(each) for each in failed] == [DatabaseUnavailable] * 2


async def test_callers_of_one_statement_see_what_each_may_see_alone(pool: Any) -> None:
    ann, bob, eve = await a_user(pool), await a_user(pool, "bob"), await a_user(pool, "eve")
    of_ann = await a_run(pool, ann, await a_workflow(pool, ann))
    of_bob = await a_run(pool, bob, await a_workflow(pool, bob))
    proposals = PostgresProposalStore(pool, owner="r", lease_ttl_s=15)
    await pool.execute(
        "INSERT INTO proposal_access (proposal_id, user_id, access_type) VALUES ($1, $2, $3)",
        *(of_ann.proposal_id, eve.user_id, AccessType.VIEWER.value),
    )
    asked = [(caller, run) for run in (of_ann, of_bob) for caller in (ann, bob, eve)]
    found = await asyncio.gather(*(proposals.refinement(caller, run.thread_id) for caller, run in asked))
    assert [each and each.proposal_id for each in found] == [
        *(of_ann.proposal_id, None, of_ann.proposal_id),
        *(None, of_bob.proposal_id, None),
    ]
