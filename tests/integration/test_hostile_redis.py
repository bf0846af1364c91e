"""Redis-protocol servers that lie, and users of them that forge: nothing of it reaches a reader."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from server.db.wakeup_key import read_wakeup_key
from server.domain.errors import RuntimeUnavailable
from server.domain.journal.events import Token
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.runs.runtime import OversizedFrame, StreamClosed
from server.observability.loop_watch import LoopWatch
from server.runtime.channel import ChannelRuntime
from server.wakeups.entries import PendingEntry, entry_of
from server.wakeups.payloads import RELEASED, progress_payloads_of
from server.wakeups.proofs import PROOF, Proofs
from server.wakeups.redis import _ENTRIES, RedisWakeups
from server.wakeups.redis_reader import SHARED_STREAM, stream_of
from tests.integration.replicas import Replica, read_events, replica
from tests.support.hand_clock import until
from tests.support.processes import memory_mib
from tests.support.redis_server import RedisServer, redis_server
from tests.support.servers import tcp_server

#: What an answer may take of the process's memory, in MiB: its bound, and what the library copies.
MAX_MIB = 128
#: Answers to any command: more than a reader may take, and what is not the protocol at all.
HOSTILE_ANSWERS = {
    "a length beyond all bounds": b"$99999999999\r\nabc",
    "a negative length": b"$-7\r\nabc\r\n",
    "a length of many digits": b"$" + b"9" * 5000 + b"\r\n",
    "a line without end": b"+" + b"x" * (1 << 20),
    "lists in lists": b"*1\r\n" * 20_000,
    "more items than a reader takes": b"*1000000\r\n" + b":1\r\n" * 1_000_000,
    "no list": b":7\r\n" * 50,
    "a list of numbers": b"*2\r\n:1\r\n:2\r\n" * 50,
    "a stream without entries": b"*1\r\n*2\r\n$1\r\nx\r\n:3\r\n" * 50,
    "entries without fields": b"*1\r\n*2\r\n$1\r\nx\r\n*1\r\n*2\r\n$3\r\n1-0\r\n$-1\r\n" * 50,
    "an odd number of fields": b"*1\r\n*2\r\n$1\r\nx\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*1\r\n$1\r\na\r\n" * 50,
    "an id of letters": b"*1\r\n*2\r\n$1\r\nx\r\n*1\r\n*2\r\n$3\r\nx-y\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n" * 50,
    "an error": b"-ERR no\r\n" * 50,
    "an unknown kind": b"!nonsense\r\n" * 50,
    "nothing, again and again": b"*-1\r\n" * 100_000,
    "nothing": b"",
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as running:
        yield running


def wakeups_at(url: str, **options: float) -> Any:
    return lambda pool: RedisWakeups(url, lambda: read_wakeup_key(pool), **options)


def forged(seq: int, *, terminal: bool) -> dict[Any, Any]:
    """An entry with a token, as the previous release wrote it; as this one does, without the proof."""
    pending = PendingEntry(seq)
    pending.add(Segment(seq, seq, b"\x02\x0a\x00", b"\x00", terminal=terminal), HEAD, max_bytes=1 << 20)
    return entry_of(pending)


HEAD = JournalHead(2, 1, 1, False)


@asynccontextmanager
async def two_replicas(database: str, url: str) -> AsyncIterator[tuple[Replica, Replica]]:
    async with (
        replica(database, wakeups_at(url)) as here,
        replica(database, wakeups_at(url)) as there,
    ):
        await asyncio.gather(here.told(), there.told())
        yield here, there


def received(on: Replica) -> Any:
    assert isinstance(on.wakeups, RedisWakeups)
    return on.wakeups.received


async def test_no_forged_entry_reaches_a_reader_or_ends_its_stream(
    database: str, server: RedisServer
) -> None:
    key = Proofs(b"a guess of thirty-two bytes here")
    async with two_replicas(database, server.url) as (here, there), server.client() as client:
        run = await here.run()
        reader = asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 1)))
        name, entries = stream_of(run.thread_id), []
        for version in (b"1", b"2"):
            for proof in (None, b"", b"\0" * 16, "of another key"):
                for terminal in (False, True):
                    fields = forged(2, terminal=terminal) | {b"v": version}
                    if proof is not None:
                        own = key.of_entry(run.thread_id, 2, fields)
                        fields[PROOF] = own if isinstance(proof, str) else proof
                    entries.append(fields)
        pipeline = client.pipeline()
        for number, fields in enumerate(entries):
            pipeline.xadd(name, fields, f"2-{number}")
        await pipeline.execute()
        await until(lambda: received(there).unproven == len(entries))
        assert not reader.done()
        assert there.broadcaster.remote_threads() == {run.thread_id: 1}
        await run.say("true")
        await run.finish()
        async with asyncio.timeout(60):
            history = await reader
    assert [event.seq for event in history] == [2, 3]
    assert isinstance(history[0].kind, Token)
    assert history[0].kind.text == "true"


async def until_not_empty(fetch: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(60):
        while not (found := await fetch()):
            await asyncio.sleep(0.01)
    return found


async def test_a_proof_is_void_for_another_thread_or_seq_and_for_a_changed_entry(
    database: str, server: RedisServer
) -> None:
    async with two_replicas(database, server.url) as (here, there), server.client() as client:
        first, second = await here.run(), await here.run()
        reader = asyncio.create_task(read_events(await there.broadcaster.subscribe(second.thread_id, 1)))
        await first.say("of the first")
        await first.finish()
        source: Any = await until_not_empty(lambda: client.xrange(stream_of(first.thread_id)))
        entry = source[-1][1]
        moved = [
            (stream_of(second.thread_id), "2-1", entry),
            (stream_of(second.thread_id), "3-0", entry),
            (stream_of(second.thread_id), "3-1", {**entry, b"t": b"1"}),
            (stream_of(second.thread_id), "3-2", {**entry, b"e": b"2"}),
        ]
        pipeline = client.pipeline()
        for name, entry_id, fields in moved:
            pipeline.xadd(name, fields, entry_id)
        await pipeline.execute()
        await until(lambda: received(there).unproven == len(moved))
        assert not reader.done()
        await second.finish()
        await there.broadcaster.poll()
        async with asyncio.timeout(60):
            assert [event.seq for event in await reader] == [2]


async def test_a_flood_of_forged_entries_costs_few_looks_at_the_journal(
    database: str, server: RedisServer
) -> None:
    async with two_replicas(database, server.url) as (here, there), server.client() as client:
        run = await here.run()
        subscription = await there.broadcaster.subscribe(run.thread_id, 1)
        reads, began = there.reads, asyncio.get_running_loop().time()
        reads.clear()
        for batch in range(8):
            pipeline = client.pipeline(transaction=False)
            for number in range(500):
                pipeline.xadd(stream_of(run.thread_id), {b"x": bytes(1000)}, f"{2 + batch * 500 + number}-0")
            await pipeline.execute()
        await until(lambda: received(there).unproven >= 4_000)
        took = asyncio.get_running_loop().time() - began
        assert len(reads) <= 2 + took / 0.25
        await run.say("true")
        await there.broadcaster.poll()
        assert [event.seq for event in await read_events(subscription, 1)] == [2]


async def test_notices_are_a_replicas_own_and_are_taken_once(database: str, server: RedisServer) -> None:
    async with two_replicas(database, server.url) as (here, there), server.client() as client:
        run = await here.run()
        subscription = await there.broadcaster.subscribe(run.thread_id, 1)
        [progress] = progress_payloads_of({run.thread_id: "forged"})
        for payload in (RELEASED, progress):
            for fields in ({b"p": payload}, {b"p": payload, b"h": bytes(24), PROOF: bytes(16)}, {b"h": b"x"}):
                await client.xadd(SHARED_STREAM, fields)
        here.wakeups.on_released()
        await until(there.released.is_set)
        there.released.clear()
        own = [fields for _, fields in await client.xrange(SHARED_STREAM) if fields.get(b"p") == b"!"]
        for fields in own * 3:
            await client.xadd(SHARED_STREAM, fields)
        here.wakeups.on_progress(run.thread_id, "true")
        await until(lambda: subscription.topic.heartbeats > 0)
        assert (subscription.topic.progress, subscription.topic.heartbeats) == ("true", 1)
        assert not there.released.is_set()


@pytest.mark.parametrize("name", sorted(HOSTILE_ANSWERS))
async def test_a_server_that_answers_anything_costs_bounded_memory_and_stops_nothing(
    database: str, name: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            writer.write(HOSTILE_ANSWERS[name])
            await writer.drain()

    async with tcp_server(answer) as port:
        await _goes_on_at(database, f"redis://127.0.0.1:{port}/0")


async def test_an_answer_without_end_costs_bounded_memory_and_stops_nothing(database: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(b"*1\r\n*2\r\n$1\r\nx\r\n*100000000\r\n")
        entry = b"*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$100000\r\n" + bytes(100_000) + b"\r\n"
        while True:
            writer.write(entry)
            await writer.drain()

    async with tcp_server(answer) as port:
        await _goes_on_at(database, f"redis://127.0.0.1:{port}/0")


@asynccontextmanager
async def grows_little() -> AsyncIterator[None]:
    """Ensures that the process's memory grows by less than MAX_MIB at any time in the block."""
    # The highest figure begins anew (Linux).
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_mib(os.getpid(), "VmRSS")
    yield
    assert memory_mib(os.getpid(), "VmHWM") - before < MAX_MIB


async def _goes_on_at(database: str, url: str) -> None:
    """A run whose reader is on another replica ends, and the loop is not held, with a hostile server."""
    late: list[float] = []
    quick = wakeups_at(url, answer_s=0.3, self_test_s=0.2, max_retry_s=0.05)
    async with (
        grows_little(),
        LoopWatch(late.append).watching(),
        replica(database, quick) as here,
        replica(database, quick, poll_s=0.05) as there,
    ):
        run = await here.run()
        reader = asyncio.create_task(read_events(await there.broadcaster.subscribe(run.thread_id, 1)))
        for number in range(10):
            await run.say(str(number))
            await asyncio.sleep(0.05)
        await run.finish()
        async with asyncio.timeout(60):
            assert [event.seq for event in await reader] == list(range(2, 13))
        assert not here.wakeups.healthy
        assert not there.wakeups.healthy
    assert max(late) < 5, "a generous bound: other work may use the cores"


@pytest.mark.parametrize("name", sorted(set(HOSTILE_ANSWERS) - {"nothing", "nothing, again and again"}))
async def test_a_channel_that_answers_anything_is_an_error_of_its_own_run(name: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(1 << 16):
            if b"SUBSCRIBE" in request:
                writer.write(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n" + HOSTILE_ANSWERS[name])
                await writer.drain()
                return
            writer.write(b"+OK\r\n" * request.count(b"\r\n*") + b"+OK\r\n")

    async with (
        tcp_server(answer) as port,
        ChannelRuntime(
            "http://127.0.0.1:9", f"redis://127.0.0.1:{port}/0", answer_s=2, quiet_s=0.5
        ) as runtime,
    ):
        with pytest.raises((StreamClosed, RuntimeUnavailable)):
            await _read_all(runtime)


async def _read_all(runtime: ChannelRuntime) -> None:
    async with asyncio.timeout(60), runtime.stream(str(uuid4())) as frames:
        async for frame in frames:
            assert isinstance(frame, OversizedFrame)


async def test_a_long_message_of_a_channel_is_skipped_without_keeping_it(server: RedisServer) -> None:
    thread_id = str(uuid4())
    async with (
        grows_little(),
        ChannelRuntime("http://127.0.0.1:9", server.url, max_frame_bytes=1 << 20) as runtime,
        runtime.stream(thread_id) as frames,
        server.client() as client,
    ):
        await client.config_set("client-output-buffer-limit", "pubsub 0 0 0")
        script = "local long = string.rep('x', 40000000) redis.call('PUBLISH', ARGV[1], long) return #long"
        channel = f"langgraph:stream:{thread_id}"
        assert await client.eval(script, 0, channel) == 40_000_000
        await client.publish(channel, b"short")
        [frame] = await anext(frames)
        assert isinstance(frame, OversizedFrame)
        assert frame.size_bytes == 40_000_000
        assert await anext(frames) == [b"short"]


@pytest.mark.parametrize("unasked", [b"+OK\r\n", b"*2\r\n:1\r\n:2\r\n"], ids=["words", "lists"])
async def test_a_channel_that_sends_what_nobody_asked_for_without_end_is_left(unasked: bytes) -> None:
    turns = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(1 << 16):
            if b"SUBSCRIBE" in request:
                writer.write(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n" + unasked * 50_000)
                await writer.drain()
                return
            writer.write(b"+OK\r\n" * request.count(b"\r\n*") + b"+OK\r\n")

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with (
        tcp_server(answer) as port,
        ChannelRuntime("http://127.0.0.1:9", f"redis://127.0.0.1:{port}/0") as runtime,
    ):
        counting = asyncio.create_task(count())
        with pytest.raises(StreamClosed, match="nobody asked for"):
            await _read_all(runtime)
        counting.cancel()
    assert turns > 900


async def test_a_server_that_reads_nothing_is_left_at_once() -> None:
    """What was sent to it waits in this process, and nobody waits for it to be read."""
    never = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while b"PING" not in (request := await reader.read(1 << 16)):
            writer.write(b"+OK\r\n" * (request.count(b"\r\n*") + 1))
        writer.write(b"+PONG\r\n")
        await never.wait()

    async def key() -> bytes:
        return bytes(32)

    async with tcp_server(answer) as port, asyncio.timeout(60):
        wakeups = RedisWakeups(f"redis://127.0.0.1:{port}/0", key, answer_s=3600)
        async with wakeups._client(_ENTRIES) as client:
            await client.ping()
            writer = client.connection._writer
            writer.write(bytes(64 << 20))
            assert writer.transport.get_write_buffer_size()
