"""Wake-ups over LISTEN and NOTIFY: another replica hears of a commit; when it does not, the poll finds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit
from uuid import UUID, uuid4

import asyncpg

from server.db.pool import open_pool
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.wakeups.payloads import hints_of
from server.wakeups.postgres import CHANNEL, PostgresWakeups
from tests.integration.replicas import (
    NEVER_S,
    a_release_is_announced,
    progress_is_shown_elsewhere,
    read_events,
    replica,
)
from tests.support.hand_clock import until
from tests.support.proxy import proxy

HEAD = JournalHead(1, 1, 1, False)


def over(dsn: str, **options: float) -> Callable[[Any], PostgresWakeups]:
    return lambda pool: PostgresWakeups(pool, dsn, **options)


async def listening_backends(dsn: str) -> list[int]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT pid FROM pg_stat_activity "
            "WHERE application_name = 'ide-orchestrator wake-ups' AND datname = current_database()"
        )
        return [row["pid"] for row in rows]
    finally:
        await connection.close()


class RecordingListener:
    """A WakeupListener that writes down the hints."""

    def __init__(self) -> None:
        self.hints: list[tuple[UUID, int]] = []

    def remote_threads(self) -> dict[UUID, int]:
        return {}

    def on_wakeup(self, thread_id: UUID, last_seq: int) -> None:
        self.hints.append((thread_id, last_seq))

    def on_segment(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        raise AssertionError("a notification carries no data")

    def on_progress(self, thread_id: UUID, text: str) -> None:
        raise AssertionError("nobody reported progress")


async def test_an_event_committed_on_one_replica_reaches_readers_on_another_without_a_poll(
    database: str,
) -> None:
    async with replica(database, over(database)) as here, replica(database, over(database)) as there:
        await asyncio.gather(here.told(), there.told())
        run = await here.run()
        readers = [
            asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, after)))
            for after in (0, 0, 1)
        ]
        for number in range(50):
            await run.say(str(number))
        await run.finish()
        async with asyncio.timeout(60):
            histories = await asyncio.gather(*readers)
    assert [event.seq for event in histories[0]] == list(range(1, 53))
    assert histories[0] == histories[1] == [histories[0][0], *histories[2]]


async def test_many_runs_reach_a_replica_that_follows_them_all(database: str) -> None:
    async with replica(database, over(database)) as here, replica(database, over(database)) as there:
        await asyncio.gather(here.told(), there.told())
        runs = [await here.run() for _ in range(30)]
        readers = [
            asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 0)))
            for run in runs
        ]
        for number in range(10):
            await asyncio.gather(*(run.say(str(number)) for run in runs))
        await asyncio.gather(*(run.finish() for run in runs))
        async with asyncio.timeout(60):
            histories = await asyncio.gather(*readers)
    assert all([event.seq for event in history] == list(range(1, 13)) for history in histories)


async def test_a_single_commit_is_notified_at_once_and_a_flood_at_most_every_pause(
    database: str, pool: Any
) -> None:
    # At once: not after the pause, which does not pass within a test.
    async with told_by(seldom := PostgresWakeups(pool, database, pause_s=NEVER_S)) as heard:
        thread_id = uuid4()
        seldom.on_commit(thread_id, Segment(1, 1, b"", b""), HEAD)
        await until(lambda: heard.hints)
        for seq in range(2, 1000):
            seldom.on_commit(thread_id, Segment(seq, seq, b"", b""), HEAD)
            await asyncio.sleep(0)
        assert (seldom.publications, heard.hints) == (1, [(thread_id, 1)])
    pause_s, seq = 0.2, 0
    async with told_by(wakeups := PostgresWakeups(pool, database, pause_s=pause_s)) as heard:
        clock = asyncio.get_running_loop().time
        start = clock()
        while wakeups.publications < 3:
            seq += 1
            wakeups.on_commit(thread_id, Segment(seq, seq, b"", b""), HEAD)
            await asyncio.sleep(0)
        # Only the newest seq is sent, and the last one is never forgotten.
        await until(lambda: heard.hints and heard.hints[-1][1] == seq)
        assert wakeups.publications <= (clock() - start) / pause_s + 2
        assert wakeups.publications < seq
        await until(lambda: len(heard.hints) == wakeups.publications)


@asynccontextmanager
async def told_by(wakeups: PostgresWakeups) -> AsyncIterator[RecordingListener]:
    """What another replica hears of these wake-ups, once both do."""
    heard, other = RecordingListener(), PostgresWakeups(wakeups._pool, wakeups._dsn)
    tasks = [
        asyncio.create_task(wakeups.run_forever(RecordingListener())),
        asyncio.create_task(other.run_forever(heard)),
    ]
    try:
        await until(lambda: wakeups.healthy and other.healthy)
        yield heard
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_hints_for_more_threads_than_a_notification_holds_all_arrive(database: str, pool: Any) -> None:
    async with told_by(wakeups := PostgresWakeups(pool, database)) as heard:
        threads = {uuid4(): number for number in range(1, 1001)}
        for thread_id, seq in threads.items():
            wakeups.on_commit(thread_id, Segment(seq, seq, b"", b""), HEAD)
        await until(lambda: len(heard.hints) >= len(threads))
        assert dict(heard.hints) == threads
        await until(lambda: wakeups.publications == 1)


async def test_a_replica_does_not_read_the_hints_that_it_sent_itself(database: str, pool: Any) -> None:
    wakeups, heard = PostgresWakeups(pool, database), RecordingListener()
    task = asyncio.create_task(wakeups.run_forever(heard))
    try:
        await until(lambda: wakeups.healthy)
        wakeups.on_commit(uuid4(), Segment(1, 1, b"", b""), HEAD)
        await until(lambda: wakeups.publications == 1)
        # Another's, which comes after it.
        await pool.execute("SELECT pg_notify($1, $2)", CHANNEL, f"{(other := uuid4()).hex}:7")
        await until(lambda: bool(heard.hints))
        assert heard.hints == [(other, 7)]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_replica_announces_commits_only_while_it_hears_another(database: str, pool: Any) -> None:
    wakeups, thread_id = PostgresWakeups(pool, database, self_test_s=0.01), uuid4()
    task = asyncio.create_task(wakeups.run_forever(RecordingListener()))
    try:
        await until(lambda: wakeups.alone)
        wakeups.on_commit(thread_id, Segment(1, 1, b"", b""), HEAD)
        heard, other = RecordingListener(), PostgresWakeups(pool, database)
        listening = asyncio.create_task(other.run_forever(heard))
        try:
            await until(lambda: not wakeups.alone)
            wakeups.on_commit(thread_id, Segment(2, 2, b"", b""), HEAD)
            await until(lambda: heard.hints)
            assert (heard.hints, wakeups.publications) == ([(thread_id, 2)], 1)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        # The other one is gone.
        await until(lambda: wakeups.alone)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_strangers_notify_does_no_harm(database: str, pool: Any) -> None:
    wakeups, heard = PostgresWakeups(pool, database), RecordingListener()
    task = asyncio.create_task(wakeups.run_forever(heard))
    try:
        await until(lambda: wakeups.healthy)
        known = uuid4()
        for payload in ("", "?", "?else", ",,", "x:1", f"{known}:", f"{known}:x", f"{known.hex}:7"):
            await pool.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
        await until(lambda: bool(heard.hints))
        assert heard.hints == [(known, 7)]
        assert wakeups.healthy
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_killed_listening_connection_is_replaced(database: str) -> None:
    # Later than the test ends.
    seldom = over(database, self_test_s=600.0)
    async with replica(database, seldom) as here, replica(database, seldom) as there:
        await asyncio.gather(here.told(), there.told())
        run = await here.run()
        first = asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 1), 1))
        await run.say("before")
        await first
        wakeups = there.wakeups
        assert isinstance(wakeups, PostgresWakeups)
        for pid in await listening_backends(database):
            await there.pool.execute("SELECT pg_terminate_backend($1)", pid)
        # At once, not by the next self-test.
        await until(lambda: wakeups.connections == 2 and wakeups.healthy)
        await here.told()
        second = asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 2), 1))
        await run.say("after")
        async with asyncio.timeout(60):
            assert [event.seq for event in await second] == [3]


async def test_a_half_open_listening_connection_is_detected_and_replaced(
    database: str, tmp_path: Path
) -> None:
    parts = urlsplit(database)
    socket = Path(parse_qs(parts.query)["host"][0]) / ".s.PGSQL.5432"
    async with AsyncExitStack() as stack:
        way = await stack.enter_async_context(proxy(socket, at=tmp_path / ".s.PGSQL.5432"))
        direct = urlunsplit(parts._replace(query=f"host={tmp_path}&port=5432"))
        there = await stack.enter_async_context(
            replica(database, over(direct, self_test_s=0.2, answer_s=0.5))
        )
        here = await stack.enter_async_context(replica(database, over(database)))
        await asyncio.gather(here.told(), there.told())
        run = await here.run()
        way.break_all("swallow")
        await there.told(healthy=False)
        await there.told()
        reader = asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 1), 1))
        await run.say("after")
        async with asyncio.timeout(60):
            assert [event.seq for event in await reader] == [2]


async def test_lost_notifications_fall_back_to_the_poll(database: str) -> None:
    async with (
        replica(database, over(database), muted=lambda: True) as here,
        replica(database, over(database), poll_s=0.1, woken_poll_s=0.1) as there,
    ):
        await asyncio.gather(here.told(), there.told())
        run = await here.run()
        reader = asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 0)))
        for number in range(5):
            await run.say(str(number))
        await run.finish()
        async with asyncio.timeout(60):
            assert [event.seq for event in await reader] == list(range(1, 8))


async def test_while_the_self_test_fails_the_poll_is_the_quick_one(database: str) -> None:
    nowhere = "postgresql://ideo@/none?host=/nowhere"
    async with (
        replica(database, over(database)) as here,
        replica(database, over(nowhere), poll_s=0.05, woken_poll_s=NEVER_S) as there,
    ):
        run = await here.run()
        reader = asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 1), 1))
        await run.say("x")
        async with asyncio.timeout(60):
            assert [event.seq for event in await reader] == [2]
        assert not there.wakeups.healthy


async def test_only_commits_are_notified(database: str) -> None:
    """While the database stalls commits, readers elsewhere see and hear of nothing."""
    async with replica(database, over(database)) as here, open_pool(database) as pool:
        heard, wakeups = RecordingListener(), PostgresWakeups(pool, database)
        task = asyncio.create_task(wakeups.run_forever(heard))
        blocker = await asyncpg.connect(database)
        try:
            await until(lambda: wakeups.healthy and here.wakeups.healthy)
            run = await here.run()
            transaction = blocker.transaction()
            await transaction.start()
            await blocker.execute("SELECT 1 FROM runs FOR UPDATE")
            said = asyncio.create_task(run.say("not yet"))
            # A nonce and a hint that are sent later arrive first.
            other = uuid4()
            here.wakeups.on_commit(other, Segment(9, 9, b"", b""), HEAD)
            await until(lambda: (other, 9) in heard.hints)
            assert [hint for hint in heard.hints if hint[0] == run.thread_id] == []
            await transaction.rollback()
            await said
            await until(lambda: (run.thread_id, 2) in heard.hints)
        finally:
            await blocker.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_payload_is_read_as_it_was_written() -> None:
    thread_id = uuid4()
    assert list(hints_of(f"{thread_id.hex}:12,{thread_id}:13")) == [(thread_id, 12), (thread_id, 13)]


async def test_progress_and_released_runs_are_announced(database: str) -> None:
    async with replica(database, over(database)) as here, replica(database, over(database)) as there:
        await progress_is_shown_elsewhere(here, there)
        await a_release_is_announced(here, there)
