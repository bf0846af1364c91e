"""The journal on a real PostgreSQL: what is committed, what is published, and which writer may write."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from server.clock import SystemClock
from server.db import commit_statements
from server.db.file_json import files_from_jsonb, rejected_from_jsonb
from server.db.journal import PostgresJournal
from server.db.pool import open_pool
from server.db.runs import PostgresRunStore
from server.domain.errors import LeaseLost
from server.domain.journal.events import Outcome
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.model import Failure
from server.domain.proposals.files import File, FileSet
from server.domain.proposals.partition import ProposalFiles, partition_files
from server.encoding.event_batch import delimited_event
from tests.support.postgres import Postgres
from tests.support.stored import a_running_run, compacted


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


async def everything(journal: PostgresJournal, thread_id: UUID, after: int = 0) -> list[Segment]:
    found: list[Segment] = []
    while True:
        read = await journal.read_after(thread_id, after, max_bytes=1000)
        if not read:
            return found
        found.extend(segment.after(after) for segment in read)
        after = found[-1].last_seq


async def test_events_are_announced_and_read_in_order_with_their_deltas(pool: Any) -> None:
    lease = await a_running_run(pool)
    async with writing(pool) as (journal, told):
        log = journal.open(lease)
        for number in range(500):
            log.put(delimited_event(b"event %d" % number), b"delta %d" % number, epoch=1)
        await log.flush()
        segments = await everything(journal, lease.thread_id, 1)
    events = [event for segment in segments for event in segment.events()]
    deltas = [delta for segment in segments for delta in segment.deltas()]
    assert events == [b"event %d" % number for number in range(500)] == told.events(lease.thread_id)
    assert deltas == [b"delta %d" % number for number in range(500)]
    assert told.heads[lease.thread_id] == JournalHead(501, 1, 1, False)
    assert [segment.first_seq for segment in segments] == [2] + [s.last_seq + 1 for s in segments[:-1]]


async def test_one_commit_takes_what_came_from_many_runs(pool: Any) -> None:
    leases = [await a_running_run(pool) for _ in range(5)]
    async with writing(pool) as (journal, told):
        logs = [journal.open(lease) for lease in leases]
        for number in range(100):
            for log in logs:
                log.put(delimited_event(b"%d" % number), b"", epoch=1)
        await asyncio.gather(*(log.flush() for log in logs))
        for lease in leases:
            assert told.events(lease.thread_id) == [b"%d" % number for number in range(100)]
            assert len(told.segments[lease.thread_id]) < 10


@pytest.mark.parametrize("runs", [1, 2])
async def test_a_commit_writes_no_index_of_the_runs_and_is_planned_once(pool: Any, runs: int) -> None:
    leases = [await a_running_run(pool) for _ in range(runs)]
    statement = commit_statements.APPEND_ONE if runs == 1 else commit_statements.APPEND
    written = (
        "SELECT pg_stat_get_xact_tuples_updated('runs'::regclass) AS rows,"
        " pg_stat_get_xact_tuples_hot_updated('runs'::regclass) AS in_place"
    )
    async with pool.acquire() as connection, connection.transaction():
        before = await connection.fetchrow(written)
        for n in range(7):
            rows = [
                (run.thread_id, run.fence, run.last_seq + n, run.last_seq + n + 1, 1, b"event", b"delta", b"")
                for run in leases
            ]
            values = rows[0] if runs == 1 else list(map(list, zip(*rows, strict=True)))
            status = await connection.execute(statement, *values, timedelta(seconds=15))
            assert status == ("INSERT 0 1" if runs == 1 else f"SELECT {runs}")
        after = await connection.fetchrow(written)
        assert after["rows"] - before["rows"] == after["in_place"] - before["in_place"] == 7 * runs
        plans = "SELECT generic_plans FROM pg_prepared_statements WHERE statement = $1"
        # The first five are always planned for their values.
        assert await connection.fetchval(plans, statement) == 2


async def test_a_commit_renews_a_lease_of_which_a_third_has_passed(pool: Any) -> None:
    read = "SELECT lease_until FROM runs WHERE thread_id = $1"
    lease = await a_running_run(pool)
    async with writing(pool) as (journal, _):
        log = journal.open(lease)
        for already_left, least_more in ((14, 0), (9, 6)):
            await pool.execute(
                "UPDATE runs SET lease_until = now() + $2::interval WHERE thread_id = $1",
                lease.thread_id,
                timedelta(seconds=already_left),
            )
            before = await pool.fetchval(read, lease.thread_id)
            log.put(b"event", b"delta", epoch=1)
            await log.flush()
            more = await pool.fetchval(read, lease.thread_id) - before
            assert more >= timedelta(seconds=least_more)
            assert bool(more) == bool(least_more)


async def test_a_reader_gets_what_follows_its_cursor_at_every_seq(pool: Any) -> None:
    lease = await a_running_run(pool)
    async with writing(pool) as (journal, _):
        log = journal.open(lease)
        for number in range(2, 40):
            log.put(delimited_event(b"%d" % number), b"r%d" % number, epoch=1)
            if number % 7 == 0:
                await log.flush()
        await log.flush()
        for after in range(1, 39):
            segments = await everything(journal, lease.thread_id, after)
            events = [event for segment in segments for event in segment.events()]
            assert events == [b"%d" % number for number in range(after + 1, 40)]


async def test_the_holder_of_an_old_fence_writes_nothing_and_stops(pool: Any) -> None:
    lease = await a_running_run(pool)
    async with writing(pool) as (journal, told):
        log = journal.open(lease)
        await pool.execute("UPDATE runs SET fence = fence + 1 WHERE thread_id = $1", lease.thread_id)
        log.put(delimited_event(b"late"), b"", epoch=1)
        with pytest.raises(LeaseLost):
            await log.flush()
        with pytest.raises(LeaseLost):
            await journal.finish(
                log, b"end", b"", outcome=Outcome.COMPLETED, files=ProposalFiles(), failure=None
            )
        assert told.events(lease.thread_id) == []
        assert len(await everything(journal, lease.thread_id)) == 1


async def test_an_old_fence_cannot_finish_a_run(pool: Any) -> None:
    lease = await a_running_run(pool)
    files = partition_files(FileSet({"/a.md": File(b"of another owner")}))
    async with writing(pool) as (journal, _):
        log = journal.open(replace(lease, fence=lease.fence - 1))
        with pytest.raises(LeaseLost):
            await journal.finish(log, b"end", b"", outcome=Outcome.COMPLETED, files=files, failure=None)
    assert (
        await pool.fetchval("SELECT status FROM proposals WHERE id = $1", lease.proposal_id) == "processing"
    )
    assert not await pool.fetch("SELECT FROM contents")


async def test_a_run_with_more_files_than_a_statement_takes_ends_with_all_of_them(pool: Any) -> None:
    lease = await a_running_run(pool)
    files = {f"/{number}": File(str(number).encode()) for number in range(1001)}
    async with writing(pool) as (journal, told):
        log = journal.open(lease)
        await journal.finish(
            log, b"end", b"", outcome=Outcome.COMPLETED, files=partition_files(FileSet(files)), failure=None
        )
        assert told.heads[lease.thread_id].terminal
    contents = await pool.fetch(
        "SELECT content FROM proposal_hashes JOIN contents USING (sha256) WHERE proposal_id = $1",
        lease.proposal_id,
    )
    assert sorted(int(row["content"]) for row in contents) == list(range(1001))


async def test_finishing_stores_event_files_and_status_together(pool: Any) -> None:
    lease = await a_running_run(pool)
    files = {"/a.md": File(b"one\ntwo\n", created_at="2025-01-01T00:00:00Z"), "/b": File(b"\x00\xff", False)}
    result = partition_files(FileSet({**files, "/../c": File(b"one\ntwo\n")}, True, {"/d": b"17"}))
    async with writing(pool) as (journal, told):
        log = journal.open(lease)
        log.put(delimited_event(b"token"), b"", epoch=2)
        await journal.finish(
            log,
            b"end",
            b"r",
            outcome=Outcome.FAILED,
            files=result,
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
    assert rejected_from_jsonb(row["rejections"]) == result.rejected
    contents = await pool.fetch("SELECT sha256, content FROM proposal_contents")
    assert sorted(each["content"] for each in contents) == [b"\x00\xff", b"17", b"one\ntwo\n"]
    assert all(hashlib.sha256(each["content"]).digest() == each["sha256"] for each in contents)


async def test_a_finished_run_takes_no_more_events(pool: Any) -> None:
    lease = await a_running_run(pool)
    async with writing(pool) as (journal, _):
        log = journal.open(lease)
        await journal.finish(log, b"end", b"", outcome=Outcome.COMPLETED, files=ProposalFiles(), failure=None)
        late = journal.open(replace(lease, last_seq=2))
        late.put(delimited_event(b"zombie"), b"", epoch=1)
        with pytest.raises(LeaseLost):
            await late.flush()


async def test_a_finished_journal_is_packed_into_few_rows_with_the_same_events(pool: Any) -> None:
    lease = await a_running_run(pool)
    async with writing(pool) as (journal, _):
        log = journal.open(lease)
        for number in range(300):
            log.put(delimited_event(b"%d" % number), b"", epoch=1)
            if number % 10 == 0:
                await log.flush()
        await journal.finish(log, b"end", b"", outcome=Outcome.COMPLETED, files=ProposalFiles(), failure=None)
        await compacted(pool, lease.thread_id)
        events = [e for s in await everything(journal, lease.thread_id) for e in s.events()]
    assert events == [b"first", *(b"%d" % number for number in range(300)), b"end"]


async def test_an_event_larger_than_a_commit_goes_through(pool: Any) -> None:
    lease = await a_running_run(pool)
    large = bytes(range(256)) * 40_000
    async with writing(pool) as (journal, _):
        log = journal.open(lease)
        log.put(delimited_event(large), b"", epoch=1)
        log.put(delimited_event(b"small"), b"", epoch=1)
        await log.wait_for_capacity()
        await log.flush()
        segments = await everything(journal, lease.thread_id, 1)
    assert [event for s in segments for event in s.events()] == [large, b"small"]


async def test_nothing_is_lost_or_written_twice_while_connections_are_killed(
    database: str, pool: Any
) -> None:
    """Every connection of the writer is killed again and again, also in the middle of commits."""
    leases = [await a_running_run(pool) for _ in range(4)]
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(open_pool(database, application_name="victim", max_size=3))
        journal, told = await stack.enter_async_context(writing(own))
        logs = [journal.open(lease) for lease in leases]
        killer = await asyncpg.connect(database)
        stack.push_async_callback(killer.close)
        kills = 0
        for number in range(400):
            for log in logs:
                log.put(delimited_event(b"%d" % number), b"", epoch=1)
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
    async with asyncio.timeout(60):
        while not await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'",
            application,
        ):
            await asyncio.sleep(0.01)


async def test_a_fault_while_a_lost_answer_is_looked_up_stops_neither_the_writer_nor_other_runs(
    database: str, pool: Any
) -> None:
    """The connection breaks during a commit, and the query for the commit's result is refused."""
    lease, other = await a_running_run(pool), await a_running_run(pool)
    rename = "ALTER TABLE runs RENAME COLUMN {} TO {}".format
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(open_pool(database, application_name="victim"))
        journal, told = await stack.enter_async_context(writing(own))
        log, other_log = journal.open(lease), journal.open(other)
        other_log.put(delimited_event(b"before"), b"", epoch=1)
        await other_log.flush()
        renamer = await asyncpg.connect(database, server_settings={"application_name": "renamer"})
        stack.push_async_callback(renamer.close)
        async with pool.acquire() as blocker, blocker.transaction():
            await blocker.execute("SELECT FROM runs WHERE thread_id = $1 FOR UPDATE", lease.thread_id)
            log.put(delimited_event(b"unanswered"), b"", epoch=1)
            await waits_for_lock(pool, "victim")
            renaming = asyncio.ensure_future(renamer.execute(rename("fence", "renamed")))
            await waits_for_lock(pool, "renamer")
            await pool.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name = 'victim' AND datname = current_database()"
            )
            await waits_for_lock(pool, "victim")
        await renaming
        async with asyncio.timeout(60):
            with pytest.raises(LeaseLost):
                await log.flush()
            await renamer.execute(rename("renamed", "fence"))
            other_log.put(delimited_event(b"after"), b"", epoch=1)
            await other_log.flush()
        assert told.events(other.thread_id) == [b"before", b"after"]
        assert told.events(lease.thread_id) == []
        for thread_id, expected in ((other.thread_id, [b"before", b"after"]), (lease.thread_id, [])):
            segments = await everything(journal, thread_id, 1)
            assert [event for s in segments for event in s.events()] == expected


async def test_the_log_of_a_lost_lease_costs_neither_its_successor_nor_another_run_anything(
    pool: Any,
) -> None:
    """Both logs of one run are in one commit, as after a takeover within one process."""
    lease, other = await a_running_run(pool), await a_running_run(pool)
    async with writing(pool) as (journal, told):
        await pool.execute("UPDATE runs SET fence = fence + 1 WHERE thread_id = $1", lease.thread_id)
        dead = journal.open(lease)
        living, healthy = journal.open(replace(lease, fence=lease.fence + 1)), journal.open(other)
        dead.put(delimited_event(b"late"), b"", epoch=1)
        dead.put(delimited_event(b"later"), b"", epoch=1)
        living.put(delimited_event(b"goes on"), b"", epoch=1)
        healthy.put(delimited_event(b"beside"), b"", epoch=1)
        await asyncio.gather(living.flush(), healthy.flush())
        with pytest.raises(LeaseLost):
            await dead.flush()
        assert (living.committed, dead.committed) == (2, 1)
        assert told.events(lease.thread_id) == [b"goes on"]
        assert told.events(other.thread_id) == [b"beside"]
        segments = await everything(journal, lease.thread_id, 1)
        assert [event for s in segments for event in s.events()] == [b"goes on"]


async def test_a_run_whose_events_the_database_refuses_costs_the_others_of_its_commit_nothing(
    pool: Any,
) -> None:
    broken, *others = [await a_running_run(pool) for _ in range(4)]
    await pool.execute(
        "INSERT INTO events (thread_id, first_seq, last_seq, batch, residues) VALUES ($1, 2, 2, '', '')",
        broken.thread_id,
    )
    async with writing(pool) as (journal, told):
        logs = [journal.open(lease) for lease in (broken, *others)]
        for log in logs:
            log.put(delimited_event(b"event"), b"", epoch=1)
        await asyncio.gather(*(log.flush() for log in logs[1:]))
        with pytest.raises(LeaseLost):
            await logs[0].flush()
        logs[1].put(delimited_event(b"after"), b"", epoch=1)
        await logs[1].flush()
        assert told.events(others[0].thread_id) == [b"event", b"after"]
        assert told.events(broken.thread_id) == []


async def test_a_listener_that_fails_costs_no_run_its_lease(pool: Any) -> None:
    lease = await a_running_run(pool)

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    journal = PostgresJournal(pool, SystemClock(), lease_ttl_s=15)
    journal.subscribe(fail)
    async with journal.writing():
        log = journal.open(lease)
        for _ in range(3):
            log.put(delimited_event(b"event"), b"", epoch=1)
            await log.flush()


async def test_a_deadlock_with_an_operators_lock_is_tried_again(database: str, pool: Any) -> None:
    """The operator holds `events` and waits for `runs`, of which the commit has a row."""
    lease = await a_running_run(pool)
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(open_pool(database, application_name="victim"))
        journal, _ = await stack.enter_async_context(writing(own))
        operator = await asyncpg.connect(database, server_settings={"deadlock_timeout": "60s"})
        stack.push_async_callback(operator.close)
        log = journal.open(lease)
        transaction = operator.transaction()
        await transaction.start()
        await operator.execute("LOCK TABLE events")
        log.put(delimited_event(b"event"), b"", epoch=1)
        await waits_for_lock(pool, "victim")
        # Now each waits for the other; the server ends the victim's statement.
        await operator.execute("LOCK TABLE runs")
        await transaction.rollback()
        async with asyncio.timeout(60):
            await log.flush()


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_runs_go_on_though_the_database_has_another_default_isolation_level(
    postgres: Postgres, database: str, level: str
) -> None:
    await postgres.set_default_isolation(database, level)
    async with open_pool(database) as pool, writing(pool) as (journal, told):
        # Like a pooler: the session's default is the database's.
        async with open_pool(database) as other_pool:
            leases = [await a_running_run(other_pool) for _ in range(4)]
        runs = PostgresRunStore(pool, owner="replica-1", lease_ttl_s=15)
        logs = [journal.open(lease) for lease in leases]
        for number in range(50):
            for log in logs:
                log.put(delimited_event(b"%d" % number), b"", epoch=1)
            await asyncio.gather(
                *(log.flush() for log in logs), runs.renew([(one.thread_id, one.fence) for one in leases])
            )
        for log in logs:
            await journal.finish(
                log, b"end", b"", outcome=Outcome.COMPLETED, files=ProposalFiles(), failure=None
            )
            assert len(told.events(log.thread_id)) == 51
