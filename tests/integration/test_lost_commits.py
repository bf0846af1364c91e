"""A database that comes back without its newest commits: they are written again, or readers get an error.

The tests take the newest commits away by SQL: the rows are then as after a failover to a late standby.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from server.clock import SystemClock
from server.db.commit_statements import POSITIONS
from server.db.file_json import files_from_jsonb
from server.db.journal import PostgresJournal
from server.db.pool import open_pool
from server.domain.errors import CursorOutOfRange, DatabaseUnavailable, LeaseLost
from server.domain.journal.events import Outcome
from server.domain.journal.journal import JournalHead
from server.domain.journal.log import JournalLog
from server.domain.journal.recent_commits import KEEP_S
from server.domain.journal.segments import Segment
from server.domain.proposals.files import File
from server.domain.proposals.partition import ProposalFiles
from server.domain.streams.broadcaster import Broadcaster
from server.domain.streams.catch_up import REWIND_S
from server.domain.streams.steps import Heartbeat
from server.encoding.event_batch import delimited_delta, delimited_event
from tests.support.hand_clock import PATIENCE_S, HandClock, retried
from tests.support.stored import DELETE_EVENTS, a_running_run, change_rows

FILES = {"/a.md": File(b"one\n")}


class Published(list[bytes]):
    """The events that readers got."""

    def __call__(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        self.extend(segment.events())


@asynccontextmanager
async def a_log(
    pool: Any, clock: Any = None, **options: int
) -> AsyncIterator[tuple[PostgresJournal, JournalLog, Published]]:
    """The log of a run whose journal has the events 1 to 21, each committed by itself."""
    journal, published = PostgresJournal(pool, clock or SystemClock(), lease_ttl_s=15, **options), Published()
    journal.subscribe(published)
    async with journal.writing():
        log = journal.open(await a_running_run(pool))
        for number in range(20):
            log.put(delimited_event(b"%d" % number), b"delta %d" % number, epoch=1)
            await log.flush()
        yield journal, log, published


async def lose_commits(pool: Any, thread_id: UUID, last_seq: int) -> None:
    """Put the database back to when the journal ended with `last_seq`, and the run was active."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role TO replica")
        await connection.execute(
            "DELETE FROM events WHERE thread_id = $1 AND last_seq > $2", thread_id, last_seq
        )
        await connection.execute(
            "UPDATE runs SET last_seq = $2, epoch = 1, status = 'running', finished_at = NULL "
            "WHERE thread_id = $1",
            thread_id,
            last_seq,
        )
        await connection.execute(
            "UPDATE proposals SET status = 'processing', generated_files = NULL WHERE thread_id = $1::text",
            str(thread_id),
        )


async def stored(journal: PostgresJournal, log: JournalLog) -> list[bytes]:
    """The events of the journal after the first."""
    read = await journal.read_after(log.thread_id, 1, max_bytes=1 << 20)
    segments = [segment.after(1) for segment in read]
    assert [segment.first_seq for segment in segments] == [2, *(s.last_seq + 1 for s in segments[:-1])]
    return [event for segment in segments for event in segment.events()]


async def test_the_next_commit_of_a_run_writes_again_what_the_database_has_lost(pool: Any) -> None:
    async with a_log(pool) as (journal, log, published):
        await lose_commits(pool, log.thread_id, 9)
        log.put(delimited_event(b"next"), b"", epoch=1)
        await log.flush()
        expected = [*(b"%d" % number for number in range(20)), b"next"]
        assert await stored(journal, log) == expected
        assert published == expected


class Meeting:
    """A pool whose first two readers of positions go on together: both see the same ones."""

    def __init__(self, pool: Any) -> None:
        self._pool, self._readers, self._met = pool, 0, asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def fetch(self, query: str, *arguments: Any, **options: Any) -> Any:
        rows = await self._pool.fetch(query, *arguments, **options)
        if query == POSITIONS:
            self._readers += 1
            if self._readers == 2:
                self._met.set()
            async with asyncio.timeout(PATIENCE_S):
                await self._met.wait()
        return rows


async def test_a_commit_and_the_look_for_lost_ones_may_write_the_same_again(pool: Any) -> None:
    async with a_log(Meeting(pool)) as (journal, log, published):
        await lose_commits(pool, log.thread_id, 9)
        log.put(delimited_event(b"next"), b"", epoch=1)
        await asyncio.gather(log.flush(), journal.restore_lost_commits())
        assert await stored(journal, log) == [*(b"%d" % number for number in range(20)), b"next"]
        assert await stored(journal, log) == published


class Forestalled:
    """A pool with which something else is done before the first reader of positions reads them."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.before: Callable[[], Awaitable[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def fetch(self, query: str, *arguments: Any, **options: Any) -> Any:
        before, self.before = self.before if query == POSITIONS else None, None
        if before is not None:
            await before()
        return await self._pool.fetch(query, *arguments, **options)


async def test_a_run_ends_though_its_lost_events_were_written_again_meanwhile(pool: Any) -> None:
    forestalled = Forestalled(pool)
    async with a_log(forestalled) as (journal, log, published):
        await lose_commits(pool, log.thread_id, 9)
        forestalled.before = journal.restore_lost_commits
        await journal.finish(
            log, b"end", b"", outcome=Outcome.COMPLETED, files=ProposalFiles(kept=FILES), failure=None
        )
        assert await stored(journal, log) == published
        assert published[-1] == b"end"


async def test_a_quiet_run_gets_back_what_the_database_has_lost(pool: Any) -> None:
    async with a_log(pool) as (journal, log, published):
        for last_seq in (9, 2, 1):
            await lose_commits(pool, log.thread_id, last_seq)
            await journal.restore_lost_commits()
            assert await stored(journal, log) == published
        assert len(published) == 20


async def test_a_run_ends_though_the_database_has_lost_its_last_events(pool: Any) -> None:
    async with a_log(pool) as (journal, log, published):
        await lose_commits(pool, log.thread_id, 9)
        await journal.finish(
            log, b"end", b"", outcome=Outcome.COMPLETED, files=ProposalFiles(kept=FILES), failure=None
        )
        assert await stored(journal, log) == published
        assert published[-1] == b"end"


@pytest.mark.parametrize("last_seq", [21, 9])
async def test_an_end_that_the_database_has_lost_is_committed_again_with_its_files(
    pool: Any, last_seq: int
) -> None:
    async with a_log(pool) as (journal, log, published):
        await journal.finish(
            log, b"end", b"", outcome=Outcome.COMPLETED, files=ProposalFiles(kept=FILES), failure=None
        )
        # The journal may be compacted by now: the events before the end are in the same row.
        await change_rows(pool, DELETE_EVENTS, log.thread_id)
        for seq, event in enumerate([b"first", *published[:-1]], 1):
            if seq <= last_seq:
                await pool.execute(
                    "INSERT INTO events (thread_id, first_seq, last_seq, batch, residues) "
                    "VALUES ($1, $2, $2, $3, $4)",
                    log.thread_id,
                    seq,
                    delimited_event(event),
                    delimited_delta(b""),
                )
        await lose_commits(pool, log.thread_id, last_seq)
        log.mark_lost()
        await journal.restore_lost_commits()
        row = await pool.fetchrow("SELECT status, generated_files FROM proposals")
        assert row["status"] == "completed"
        assert files_from_jsonb(row["generated_files"]) == FILES
        assert (await journal.heads([log.thread_id]))[log.thread_id] == JournalHead(22, 1, 1, True)
        assert await stored(journal, log) == published
        await journal.restore_lost_commits()


async def test_a_run_taken_over_meanwhile_is_left_to_its_owner(pool: Any) -> None:
    async with a_log(pool) as (journal, log, _):
        await lose_commits(pool, log.thread_id, 9)
        await pool.execute("UPDATE runs SET fence = fence + 1")
        await journal.restore_lost_commits()
        assert len(await stored(journal, log)) == 8
        log.put(delimited_event(b"late"), b"", epoch=1)
        with pytest.raises(LeaseLost):
            await log.flush()


async def test_what_is_no_longer_kept_costs_the_lease_so_that_the_run_goes_on_in_a_new_epoch(
    pool: Any,
) -> None:
    clock = HandClock()
    async with a_log(pool, clock) as (journal, log, _):
        clock.move(KEEP_S + 1)
        log.put(delimited_event(b"kept"), b"", epoch=1)
        await log.flush()
        await lose_commits(pool, log.thread_id, 9)
        await journal.restore_lost_commits()
        with pytest.raises(LeaseLost):
            log.put(delimited_event(b"more"), b"", epoch=1)
        assert len(await stored(journal, log)) == 8


async def test_a_reader_of_what_is_lost_for_good_gets_an_error_after_a_while_and_others_follow_on(
    pool: Any,
) -> None:
    clock = HandClock()
    async with a_log(pool) as (journal, log, _):
        broadcaster = Broadcaster(journal, clock)
        ahead = await broadcaster.subscribe(log.thread_id, 20)
        behind = await broadcaster.subscribe(log.thread_id, 4)
        assert len((await ahead.available())[0].events()) == 1

        async def poll() -> None:
            await broadcaster.poll()
            await broadcaster.catch_up.read_due()

        await lose_commits(pool, log.thread_id, 9)
        await poll()
        await broadcaster.send_heartbeats()
        async with asyncio.timeout(60):
            assert await ahead.step() == Heartbeat(21, "")
            clock.move(REWIND_S)
            await poll()
            with pytest.raises(CursorOutOfRange) as lost:
                await ahead.step()
            assert (lost.value.floor, lost.value.last_seq) == (1, 9)
            segments = await behind.step()
            assert isinstance(segments, list)
            assert segments[-1].last_seq == 9
        ahead.close()
        behind.close()


async def test_a_journal_that_was_written_again_in_time_ends_no_reader(pool: Any) -> None:
    clock = HandClock()
    async with a_log(pool) as (journal, log, _):
        broadcaster = Broadcaster(journal, clock)
        reader = await broadcaster.subscribe(log.thread_id, 21)
        for _ in range(3):
            await lose_commits(pool, log.thread_id, 9)
            await broadcaster.poll()
            await broadcaster.catch_up.read_due()
            clock.move(REWIND_S - 1)
            await journal.restore_lost_commits()
            await broadcaster.poll()
            await broadcaster.catch_up.read_due()
        assert reader.topic.rewinds == 0
        assert reader.topic.head.last_seq == 21
        reader.close()


async def test_a_new_reader_beyond_the_end_waits_only_while_events_may_still_be_written_again(
    database: str, pool: Any
) -> None:
    # No time passes: events may still be written again.
    clock = HandClock()
    async with (
        open_pool(database, application_name="admin") as admin,
        a_log(pool, clock) as (journal, log, _),
    ):
        broadcaster = Broadcaster(journal, clock)
        await lose_commits(pool, log.thread_id, 9)
        with pytest.raises(CursorOutOfRange):
            await broadcaster.subscribe(log.thread_id, 21)
        # As a failover does, this ends every connection.
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await retried(lambda: journal.heads([log.thread_id]), DatabaseUnavailable)
        with pytest.raises(DatabaseUnavailable):
            await broadcaster.subscribe(log.thread_id, 21)
        await retried(journal.restore_lost_commits, DatabaseUnavailable)
        reader = await broadcaster.subscribe(log.thread_id, 21)
        reader.close()
