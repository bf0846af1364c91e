"""Wake-ups and the live window over a real Redis-protocol server; the journal stays the truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from server.db.wakeup_key import read_wakeup_key
from server.domain.journal.events import Token
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.wakeups.redis import (
    MAX_PENDING_BYTES,
    STREAM_ENTRIES,
    STREAM_TTL_S,
    RedisWakeups,
)
from server.wakeups.redis_reader import stream_of
from tests.integration.replicas import (
    Replica,
    a_release_is_announced,
    progress_is_shown_elsewhere,
    read_events,
    replica,
)
from tests.support.hand_clock import until
from tests.support.redis_server import RedisServer, redis_server

HEAD = JournalHead(1, 1, 1, False)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as running:
        yield running


#: The self-test of wake-ups that lose nothing while a server or this process waits for its turn: it does not
#: fail before the test ends.
PATIENT = {"answer_s": 120.0, "self_test_s": 120.0}


def over(server: RedisServer, **options: float) -> Callable[[Any], RedisWakeups]:
    return lambda pool: RedisWakeups(server.url, lambda: read_wakeup_key(pool), **options)


def counts(on: Replica) -> tuple[int, int]:
    """Entries received whole, and as hints."""
    assert isinstance(on.wakeups, RedisWakeups)
    return on.wakeups.received.segments, on.wakeups.received.hints


def reads_of(on: Replica) -> list[int]:
    """The cursors behind which the journal is read from now on."""
    on.reads.clear()
    return on.reads


async def test_the_live_window_travels_without_a_read_of_the_database(
    database: str, server: RedisServer
) -> None:
    patient = over(server, **PATIENT)
    async with replica(database, patient) as here, replica(database, patient) as there:
        await asyncio.gather(here.told(), there.told())
        run = await here.run()
        followers = [await there.broadcaster.subscribe(run.thread_id, 1) for _ in range(3)]
        reads = reads_of(there)
        readers = [asyncio.create_task(read_events(follower)) for follower in followers]
        for number in range(40):
            await run.say(str(number))
        await run.finish()
        async with asyncio.timeout(60):
            histories = await asyncio.gather(*readers)
        here_too = await read_events(await here.broadcaster.subscribe(run.thread_id, 1))
    assert [event.seq for event in histories[0]] == list(range(2, 43))
    assert histories == [here_too] * 3
    assert reads == []
    assert counts(there)[0] > 0


async def test_a_reader_that_joins_late_gets_the_whole_run(database: str, server: RedisServer) -> None:
    # The reading call blocks for longer than the test may take: a new thread has to end it.
    async with (
        replica(database, over(server)) as here,
        replica(database, over(server, **PATIENT)) as there,
    ):
        await asyncio.gather(here.told(), there.told())
        run = await here.run()
        readers = []
        for number in range(20):
            await run.say(str(number))
            readers.append(
                asyncio.create_task(
                    read_events(await there.broadcaster.subscribe(run.thread_id, number // 2))
                )
            )
        await run.finish()
        async with asyncio.timeout(60):
            histories = await asyncio.gather(*readers)
    for number, history in enumerate(histories):
        assert [event.seq for event in history] == list(range(number // 2 + 1, 23))


async def test_a_large_segment_is_a_hint_and_is_read_from_the_journal(
    database: str, server: RedisServer
) -> None:
    async with replica(database, over(server)) as here, replica(database, over(server)) as there:
        await asyncio.gather(here.told(), there.told())
        run = await here.run()
        reader = asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 1)))
        await run.say("x" * (300 << 10))
        await run.finish()
        async with asyncio.timeout(60):
            history = await reader
    assert [event.seq for event in history] == [2, 3]
    assert isinstance(history[0].kind, Token)
    assert len(history[0].kind.text) == 300 << 10
    assert counts(there)[1] >= 1


async def test_a_gap_in_the_stream_is_filled_from_the_journal(database: str, server: RedisServer) -> None:
    muted = False
    async with (
        replica(database, over(server, **PATIENT), muted=lambda: muted) as here,
        replica(database, over(server, **PATIENT)) as there,
    ):
        await asyncio.gather(here.told(), there.told())
        run = await here.run()
        muted = True
        reads = reads_of(there)
        readers = [
            asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 1)))
            for _ in range(5)
        ]
        for number in range(10):
            await run.say(str(number))
        muted = False
        await run.finish()
        async with asyncio.timeout(60):
            histories = await asyncio.gather(*readers)
    assert [[event.seq for event in history] for history in histories] == [list(range(2, 13))] * 5
    # Once for all readers.
    assert reads == [1]


async def entries(server: RedisServer, thread_ids: list[UUID]) -> list[dict[bytes, bytes]]:
    async with server.client() as client:
        found: list[dict[bytes, bytes]] = []
        for thread_id in thread_ids:
            answer: Any = await client.xrange(stream_of(thread_id))
            found.extend(fields for _, fields in answer)
        return found


async def test_segments_that_do_not_join_are_not_published_as_one(database: str, server: RedisServer) -> None:
    async with replica(database, over(server)) as here:
        await here.told()
        thread_id, wakeups = uuid4(), here.wakeups
        assert isinstance(wakeups, RedisWakeups)
        for seq in (1, 2, 5, 6):
            wakeups.on_commit(thread_id, Segment(seq, seq, b"\x0a\x00", b"\x00"), HEAD)
        await until(lambda: wakeups.publications == 1)
        told = await entries(server, [thread_id])
    assert [(fields[b"f"], fields[b"b"]) for fields in told] == [(b"5", b"\x0a\x00" * 2)]


async def test_pending_publications_are_bounded_over_all_threads(database: str, server: RedisServer) -> None:
    size = 200 << 10
    async with replica(database, over(server)) as here:
        await here.told()
        threads, wakeups = [uuid4() for _ in range(60)], here.wakeups
        assert isinstance(wakeups, RedisWakeups)
        for thread_id in threads:
            wakeups.on_commit(thread_id, Segment(1, 1, bytes(size), b""), HEAD)
        await until(lambda: wakeups.publications == 1)
        told = await entries(server, threads)
    assert len(told) == len(threads)
    assert sum(b"b" in fields for fields in told) == MAX_PENDING_BYTES // size


async def test_what_others_write_into_a_stream_is_at_most_a_hint(database: str, server: RedisServer) -> None:
    async with replica(database, over(server)) as here, replica(database, over(server)) as there:
        await asyncio.gather(here.told(), there.told())
        run = await here.run()
        reader = asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 1)))
        async with server.client() as client:
            bad: list[dict[Any, Any]] = [
                {b"v": b"9"},
                {b"v": b"1", b"f": b"2", b"e": b"1", b"t": b"0", b"b": b"\x0a\x7fx", b"r": b"\x00"},
                {b"v": b"1", b"f": b"x", b"e": b"1", b"t": b"0", b"b": b"\x0a\x01x", b"r": b"\x00"},
            ]
            for seq, fields in enumerate(bad, 2):
                await client.xadd(stream_of(run.thread_id), fields, f"{seq}-0")
        assert isinstance(there.wakeups, RedisWakeups)
        received = there.wakeups.received
        await until(lambda: received.unproven == len(bad))
        for number in range(5):
            await run.say(str(number))
        await run.finish()
        async with asyncio.timeout(60):
            assert [event.seq for event in await reader] == list(range(2, 8))


async def test_streams_are_capped_and_expire(database: str, server: RedisServer) -> None:
    async with replica(database, over(server, pause_s=0)) as here:
        await here.told()
        run, wakeups = await here.run(), here.wakeups
        assert isinstance(wakeups, RedisWakeups)
        async with asyncio.timeout(60):
            while wakeups.publications <= 200:
                await run.say("x")
        async with server.client() as client:
            name = stream_of(run.thread_id)
            # The server trims a node of 100 entries at a time.
            assert await client.xlen(name) <= STREAM_ENTRIES + 100
            keys = await client.keys("*")
            assert len(keys) == 2
            for key in keys:
                assert 0 < await client.ttl(key) <= STREAM_TTL_S


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_while_the_server_is_away_the_poll_carries_on_and_then_it_is_found_again(
    database: str, server: RedisServer, how: str
) -> None:
    quick = over(server, self_test_s=0.2, answer_s=0.5, max_retry_s=0.2)
    async with (
        replica(database, quick, poll_s=0.05, woken_poll_s=0.5) as here,
        replica(database, quick, poll_s=0.05, woken_poll_s=0.5) as there,
    ):
        await asyncio.gather(here.told(), there.told())
        run = await here.run()
        reader = asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 1)))
        await run.say("with it")
        if how == "kill":
            await server.kill()
        else:
            server.freeze()
        await asyncio.gather(here.told(healthy=False), there.told(healthy=False))
        for number in range(5):
            await run.say(f"without it {number}")
        last = await there.broadcaster.subscribe(run.thread_id, 6)
        assert [event.seq for event in await read_events(last, 1)] == [7]
        if how == "kill":
            await server.start()
        else:
            server.thaw()
        await asyncio.gather(here.told(), there.told())
        before, last_seq = counts(there)[0], 7
        async with asyncio.timeout(60):
            # The self-test is so quick that on a busy machine it may fail once more.
            while counts(there)[0] == before:
                await run.say("with it again")
                last_seq += 1
                await asyncio.sleep(0.05)
            await run.finish()
            assert [event.seq for event in await reader] == list(range(2, last_seq + 2))


async def test_a_server_that_is_not_there_stops_nothing_and_is_found_when_it_comes(
    database: str, server: RedisServer
) -> None:
    await server.kill()
    quick = over(server, max_retry_s=0.2)
    async with replica(database, quick) as here, replica(database, quick, poll_s=0.05) as there:
        run = await here.run()
        reader = asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 1)))
        await run.say("x")
        await until(lambda: there.broadcaster.remote_threads()[run.thread_id] == 2)
        await server.start()
        await asyncio.gather(here.told(), there.told())
        await run.finish()
        async with asyncio.timeout(60):
            assert [event.seq for event in await reader] == [2, 3]


async def test_it_stops_whenever_it_is_cancelled(database: str, server: RedisServer) -> None:
    """A cancellation is never lost, wherever in the client library it strikes."""
    for turns in range(40):
        async with asyncio.timeout(60), replica(database, over(server, pause_s=0)) as here:
            await here.told()
            for number in range(3):
                here.wakeups.on_commit(uuid4(), Segment(1, 1, b"\x0a\x00", b"\x00"), HEAD)
                here.wakeups.on_remote_thread()
                for _ in range(turns * (number + 1) % 11):
                    await asyncio.sleep(0)


async def test_progress_and_released_runs_are_announced(database: str, server: RedisServer) -> None:
    async with replica(database, over(server)) as here, replica(database, over(server)) as there:
        await progress_is_shown_elsewhere(here, there)
        await a_release_is_announced(here, there)
