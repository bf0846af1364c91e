"""The journal on a real PostgreSQL: what is committed, what is published, and which writer may write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from server.clock import SystemClock
from server.db.file_json import files_from_jsonb
from server.db.journal import PostgresJournal
from server.db.pool import open_pool
from server.db.runs import PostgresRunStore
from server.domain.errors import LeaseLost
from server.domain.journal.events import Outcome
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.model import Failure
from server.domain.proposals.files import File
from server.domain.runs.lease import Lease
from server.domain.runs.status import RunStatus
from tests.support.stored import a_run, a_user, a_workflow


class Told:
    """Remembers what the journal told, by thread."""

    def __init__(self) -> None:
        self.segments: dict[UUID, list[Segment]] = {}
        self.heads: dict[UUID, JournalHead] = {}

    def __call__(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        self.segments.setdefault(thread_id, []).append(segment)
        self.heads[thread_id] = head

    def events(self, thread_id: UUID) -> list[bytes]:
        return [event for segment in self.segments.get(thread_id, []) for event in segment.events()]


@asynccontextmanager
async def writing(pool: Any) -> AsyncIterator[tuple[PostgresJournal, Told]]:
    told = Told()
    journal = PostgresJournal(pool, SystemClock(), lease_ttl_s=15)
    journal.subscribe(told)
    async with journal.writing():
        yield journal, told


async def a_lease(pool: Any) -> Lease:
    user = await a_user(pool)
    lease = await a_run(pool, user, await a_workflow(pool, user))
    runs = PostgresRunStore(pool, owner="replica-1", lease_ttl_s=15)
    await runs.set_status(lease, RunStatus.INVOKING, attempt=1)
    await runs.set_status(lease, RunStatus.RUNNING, attempt=1)
    return lease


async def everything(journal: PostgresJournal, thread_id: UUID, after: int = 0) -> list[Segment]:
    found: list[Segment] = []
    while True:
        read = await journal.read_after(thread_id, after, max_bytes=1000)
        if not read:
            return found
        found.extend(segment.after(after) for segment in read)
        after = found[-1].last_seq


async def test_events_are_announced_and_read_in_order_with_their_deltas(pool: Any) -> None:
    lease = await a_lease(pool)
    async with writing(pool) as (journal, told):
        log = journal.open(lease)
        for number in range(500):
            log.put(b"event %d" % number, b"delta %d" % number, epoch=1)
        await log.flush()
        segments = await everything(journal, lease.thread_id, 1)
    events = [event for segment in segments for event in segment.events()]
    deltas = [delta for segment in segments for delta in segment.deltas()]
    assert events == [b"event %d" % number for number in range(500)] == told.events(lease.thread_id)
    assert deltas == [b"delta %d" % number for number in range(500)]
    assert told.heads[lease.thread_id] == JournalHead(501, 1, 1, False)
    assert [segment.first_seq for segment in segments] == [2] + [s.last_seq + 1 for s in segments[:-1]]


async def test_one_commit_takes_what_came_from_many_runs(pool: Any) -> None:
    leases = [await a_lease(pool) for _ in range(5)]
    async with writing(pool) as (journal, told):
        logs = [journal.open(lease) for lease in leases]
        for number in range(100):
            for log in logs:
                log.put(b"%d" % number, b"", epoch=1)
        await asyncio.gather(*(log.flush() for log in logs))
        for lease in leases:
            assert told.events(lease.thread_id) == [b"%d" % number for number in range(100)]
            assert len(told.segments[lease.thread_id]) < 10


async def test_a_reader_gets_what_follows_its_cursor_at_every_seq(pool: Any) -> None:
    lease = await a_lease(pool)
    async with writing(pool) as (journal, _):
        log = journal.open(lease)
        for number in range(2, 40):
            log.put(b"%d" % number, b"r%d" % number, epoch=1)
            if number % 7 == 0:
                await log.flush()
        await log.flush()
        for after in range(1, 39):
            segments = await everything(journal, lease.thread_id, after)
            events = [event for segment in segments for event in segment.events()]
            assert events == [b"%d" % number for number in range(after + 1, 40)]


async def test_the_holder_of_an_old_fence_writes_nothing_and_stops(pool: Any) -> None:
    lease = await a_lease(pool)
    async with writing(pool) as (journal, told):
        log = journal.open(lease)
        await pool.execute("UPDATE runs SET fence = fence + 1 WHERE thread_id = $1", lease.thread_id)
        log.put(b"late", b"", epoch=1)
        with pytest.raises(LeaseLost):
            await log.flush()
        with pytest.raises(LeaseLost):
            await journal.finish(log, b"end", b"", outcome=Outcome.COMPLETED, files={}, failure=None)
        assert told.events(lease.thread_id) == []
        assert len(await everything(journal, lease.thread_id)) == 1


async def test_an_old_fence_cannot_finish_a_run(pool: Any) -> None:
    lease = await a_lease(pool)
    async with writing(pool) as (journal, _):
        log = journal.open(replace(lease, fence=lease.fence - 1))
        with pytest.raises(LeaseLost):
            await journal.finish(log, b"end", b"", outcome=Outcome.COMPLETED, files={}, failure=None)
    assert (
        await pool.fetchval("SELECT status FROM proposals WHERE id = $1", lease.proposal_id) == "processing"
    )


async def test_finishing_stores_event_files_and_status_together(pool: Any) -> None:
    lease = await a_lease(pool)
    files = {"/a.md": File(b"one\ntwo\n", created_at="2025-01-01T00:00:00Z"), "/b": File(b"\x00\xff", False)}
    async with writing(pool) as (journal, told):
        log = journal.open(lease)
        log.put(b"token", b"", epoch=2)
        await journal.finish(
            log,
            b"end",
            b"r",
            outcome=Outcome.FAILED,
            files=files,
            failure=Failure("upstream_error", "it broke"),
        )
        assert told.events(lease.thread_id) == [b"token", b"end"]
        assert told.heads[lease.thread_id] == JournalHead(3, 2, 1, True)
        assert (await journal.heads([lease.thread_id]))[lease.thread_id] == JournalHead(3, 2, 1, True)
        segments = await everything(journal, lease.thread_id)
        assert [event for s in segments for event in s.events()] == [b"first", b"token", b"end"]
        assert segments[-1].terminal
    row = await pool.fetchrow("SELECT * FROM proposals WHERE id = $1", lease.proposal_id)
    assert (row["status"], row["failure_reason"], row["file_count"]) == ("failed", "upstream_error", 2)
    assert row["completed_at"] is not None
    assert files_from_jsonb(row["generated_files"]) == files


async def test_a_finished_run_takes_no_more_events(pool: Any) -> None:
    lease = await a_lease(pool)
    async with writing(pool) as (journal, _):
        log = journal.open(lease)
        await journal.finish(log, b"end", b"", outcome=Outcome.COMPLETED, files={}, failure=None)
        late = journal.open(replace(lease, last_seq=2))
        late.put(b"zombie", b"", epoch=1)
        with pytest.raises(LeaseLost):
            await late.flush()


async def test_a_finished_journal_is_packed_into_few_rows_with_the_same_events(pool: Any) -> None:
    lease = await a_lease(pool)
    async with writing(pool) as (journal, _):
        log = journal.open(lease)
        for number in range(300):
            log.put(b"%d" % number, b"", epoch=1)
            if number % 10 == 0:
                await log.flush()
        await journal.finish(log, b"end", b"", outcome=Outcome.COMPLETED, files={}, failure=None)
        rows = await pool.fetchval("SELECT count(*) FROM events WHERE thread_id = $1", lease.thread_id)
        events = [e for s in await everything(journal, lease.thread_id) for e in s.events()]
    assert rows == 1
    assert events == [b"first", *(b"%d" % number for number in range(300)), b"end"]


async def test_an_event_larger_than_a_commit_goes_through(pool: Any) -> None:
    lease = await a_lease(pool)
    large = bytes(range(256)) * 40_000
    async with writing(pool) as (journal, _):
        log = journal.open(lease)
        log.put(large, b"", epoch=1)
        log.put(b"small", b"", epoch=1)
        await log.wait_for_capacity()
        await log.flush()
        segments = await everything(journal, lease.thread_id, 1)
    assert [event for s in segments for event in s.events()] == [large, b"small"]


async def test_nothing_is_lost_or_written_twice_while_connections_are_killed(
    database: str, pool: Any
) -> None:
    """Every connection of the writer is killed again and again, also in the middle of commits."""
    leases = [await a_lease(pool) for _ in range(4)]
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(open_pool(database, application_name="victim", max_size=3))
        journal, told = await stack.enter_async_context(writing(own))
        logs = [journal.open(lease) for lease in leases]
        killer = await asyncpg.connect(database)
        stack.push_async_callback(killer.close)
        kills = 0
        for number in range(400):
            for log in logs:
                log.put(b"%d" % number, b"", epoch=1)
            if number % 10 == 0:
                kills += await killer.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE application_name = 'victim' AND datname = current_database()"
                )
            if number % 20 == 15:
                await logs[0].flush()
        await asyncio.gather(*(log.flush() for log in logs))
        expected = [b"%d" % number for number in range(400)]
        assert kills > 10
        for lease in leases:
            assert told.events(lease.thread_id) == expected
            segments = await everything(journal, lease.thread_id, 1)
            assert [event for s in segments for event in s.events()] == expected


async def waits_for_lock(connection: Any, application: str) -> None:
    """Return once the only statement of an application waits for a lock."""
    async with asyncio.timeout(10):
        while not await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'",
            application,
        ):
            await asyncio.sleep(0.01)


async def test_a_fault_while_a_lost_answer_is_looked_up_stops_neither_the_writer_nor_other_runs(
    database: str, pool: Any
) -> None:
    """The connection breaks during a commit, and the query for the commit's result is refused."""
    lease, other = await a_lease(pool), await a_lease(pool)
    rename = "ALTER TABLE runs RENAME COLUMN {} TO {}".format
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(open_pool(database, application_name="victim"))
        journal, told = await stack.enter_async_context(writing(own))
        log, other_log = journal.open(lease), journal.open(other)
        other_log.put(b"before", b"", epoch=1)
        await other_log.flush()
        renamer = await asyncpg.connect(database, server_settings={"application_name": "renamer"})
        stack.push_async_callback(renamer.close)
        async with pool.acquire() as blocker, blocker.transaction():
            await blocker.execute("SELECT FROM runs WHERE thread_id = $1 FOR UPDATE", lease.thread_id)
            log.put(b"unanswered", b"", epoch=1)
            await waits_for_lock(pool, "victim")
            renaming = asyncio.ensure_future(renamer.execute(rename("fence", "renamed")))
            await waits_for_lock(pool, "renamer")
            await pool.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name = 'victim' AND datname = current_database()"
            )
            await waits_for_lock(pool, "victim")
        await renaming
        async with asyncio.timeout(10):
            with pytest.raises(LeaseLost):
                await log.flush()
            await renamer.execute(rename("renamed", "fence"))
            other_log.put(b"after", b"", epoch=1)
            await other_log.flush()
        assert told.events(other.thread_id) == [b"before", b"after"]
        assert told.events(lease.thread_id) == []
        for thread_id, expected in ((other.thread_id, [b"before", b"after"]), (lease.thread_id, [])):
            segments = await everything(journal, thread_id, 1)
            assert [event for s in segments for event in s.events()] == expected


# --- Leases ------------------------------------------------------------------------------------


async def test_a_run_whose_lease_ran_out_is_taken_once_with_a_higher_fence(pool: Any) -> None:
    lease = await a_lease(pool)
    first, second = (PostgresRunStore(pool, owner=name, lease_ttl_s=15) for name in ("r2", "r3"))
    assert await first.claim_expired(10) == []
    await pool.execute("UPDATE runs SET lease_until = now() - interval '1 s'")
    taken = [*await first.claim_expired(10), *await second.claim_expired(10)]
    assert [(t.thread_id, t.fence, t.status) for t in taken] == [
        (lease.thread_id, lease.fence + 1, RunStatus.RUNNING)
    ]
    assert taken[0].invocation == lease.invocation
    assert taken[0].workflow_id == lease.workflow_id


async def test_a_released_run_can_be_taken_at_once(pool: Any) -> None:
    lease = await a_lease(pool)
    runs = PostgresRunStore(pool, owner="r1", lease_ttl_s=15)
    await runs.release(lease)
    assert [taken.thread_id for taken in await runs.claim_expired(10)] == [lease.thread_id]


async def test_renewing_returns_which_leases_are_held_and_which_runs_to_cancel(pool: Any) -> None:
    mine, lost, asked = [await a_lease(pool) for _ in range(3)]
    runs = PostgresRunStore(pool, owner="r1", lease_ttl_s=15)
    await pool.execute("UPDATE runs SET fence = 9 WHERE thread_id = $1", lost.thread_id)
    await runs.request_cancel(asked.thread_id)
    held = await runs.renew([(lease.thread_id, lease.fence) for lease in (mine, lost, asked)])
    assert held == {mine.thread_id: False, asked.thread_id: True}


async def test_a_lost_lease_cannot_change_the_runs_status(pool: Any) -> None:
    lease = await a_lease(pool)
    runs = PostgresRunStore(pool, owner="r1", lease_ttl_s=15)
    stale = replace(lease, fence=lease.fence - 1)
    with pytest.raises(LeaseLost):
        await runs.set_status(stale, RunStatus.INVOKING, attempt=2)
    with pytest.raises(LeaseLost):
        await runs.await_input(stale)


async def test_takeovers_without_progress_are_counted(pool: Any) -> None:
    await a_lease(pool)
    runs = PostgresRunStore(pool, owner="r1", lease_ttl_s=15)
    counts = []
    for _ in range(3):
        await pool.execute("UPDATE runs SET lease_until = now() - interval '1 s'")
        counts.append((await runs.claim_expired(1))[0].takeovers)
    await pool.execute("UPDATE runs SET last_seq = 7, lease_until = now() - interval '1 s'")
    counts.append((await runs.claim_expired(1))[0].takeovers)
    assert counts == [1, 2, 3, 1]


async def test_handed_over_leases_are_not_a_crash_loop(pool: Any) -> None:
    await a_lease(pool)
    runs = PostgresRunStore(pool, owner="r1", lease_ttl_s=15)
    await pool.execute("UPDATE runs SET lease_until = now() - interval '1 s'")
    counts = []
    for _ in range(8):
        lease = (await runs.claim_expired(1))[0]
        counts.append(lease.takeovers)
        await runs.release(lease)
    assert counts == [1] * 8
