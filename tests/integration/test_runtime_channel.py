"""Frames from the channel: what the adapter promises, against a real Redis-protocol server."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from redis.asyncio import Redis
from typing_extensions import override

from server.domain.errors import RuntimeUnavailable
from server.domain.runs.runtime import FrameReceiver, OversizedFrame, StreamClosed
from server.runtime.channel import ChannelRuntime, channel_of
from tests.support.hand_clock import until
from tests.support.redis_server import RedisServer, redis_server
from tests.support.runtime import frames_of

THREAD, OTHER = str(UUID(int=1)), str(UUID(int=2))
#: Nothing listens there: frames do not come from there.
NOWHERE = "http://127.0.0.1:9"
MIB = 1 << 20


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as running:
        yield running


@pytest.fixture
async def publisher(server: RedisServer) -> AsyncIterator[Redis]:
    async with server.client() as client:
        yield client


def runtime_on(server: RedisServer, **limits: float) -> ChannelRuntime:
    return ChannelRuntime(NOWHERE, server.url, **limits)


async def _read_all(frames: AsyncIterator[bytes]) -> None:
    async for _ in frames:
        pass


async def subscribers(publisher: Redis) -> int:
    return int((await publisher.pubsub_numsub(channel_of(THREAD)))[0][1])


def test_the_channel_has_the_runtimes_name() -> None:
    assert channel_of(THREAD) == "langgraph:stream:00000000-0000-0000-0000-000000000001"


async def test_what_is_published_once_it_is_entered_comes_word_for_word_and_in_order(
    server: RedisServer, publisher: Redis
) -> None:
    sent = [b'{"event_type": "a"}', b"", b"\xff\x00not json", '{"x": "é"}'.encode(), b'{"event_type": "a"}']
    async with runtime_on(server) as runtime, frames_of(runtime, THREAD) as frames:
        assert await subscribers(publisher) == 1
        for frame in sent:
            await publisher.publish(channel_of(OTHER), b"another run's")
            await publisher.publish(channel_of(THREAD), frame)
        assert [await anext(frames) for _ in sent] == sent


async def test_leaving_it_leaves_the_channel(server: RedisServer, publisher: Redis) -> None:
    async with runtime_on(server) as runtime:
        async with runtime.stream(THREAD):
            pass
        async with asyncio.timeout(60):
            while await subscribers(publisher):
                await asyncio.sleep(0.01)


async def test_what_was_published_before_is_gone(server: RedisServer, publisher: Redis) -> None:
    await publisher.publish(channel_of(THREAD), b"early")
    async with runtime_on(server) as runtime, frames_of(runtime, THREAD) as frames:
        await publisher.publish(channel_of(THREAD), b"late")
        assert await anext(frames) == b"late"


async def test_frames_of_16_mib_are_taken(server: RedisServer, publisher: Redis) -> None:
    frame = bytes(range(256)) * (16 * MIB // 256)
    async with runtime_on(server) as runtime, frames_of(runtime, THREAD) as frames:
        for _ in range(3):
            await publisher.publish(channel_of(THREAD), frame)
            assert await anext(frames) == frame


async def test_a_frame_above_the_limit_is_skipped_and_named(server: RedisServer, publisher: Redis) -> None:
    runtime = ChannelRuntime(NOWHERE, server.url, max_frame_bytes=100)
    async with runtime, frames_of(runtime, THREAD) as frames:
        for frame in (b"x" * 100, b"x" * 101, b"y"):
            await publisher.publish(channel_of(THREAD), frame)
        received = [await anext(frames) for _ in range(3)]
    assert received == [b"x" * 100, OversizedFrame(101), b"y"]


async def test_a_quiet_channel_stays_open(server: RedisServer, publisher: Redis) -> None:
    async with runtime_on(server, quiet_s=1.0) as runtime, frames_of(runtime, THREAD) as frames:
        coming = asyncio.ensure_future(anext(frames))
        # The server has been asked twice whether it is there, and has answered.
        async with asyncio.timeout(60):
            while (await publisher.info("commandstats")).get("cmdstat_ping", {}).get("calls", 0) < 3:
                await asyncio.sleep(0.05)
        assert not coming.done()
        await publisher.publish(channel_of(THREAD), b"at last")
        assert await coming == b"at last"


async def test_a_frame_that_comes_in_pieces_is_waited_for() -> None:
    name = channel_of(THREAD).encode()
    frame = b"x" * MIB
    gone = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = b""
        while b"SUBSCRIBE" not in heard:
            heard += await reader.read(4096)
            # The name and the library of the client.
            writer.write(b"+OK\r\n" * heard.count(b"CLIENT"))
            heard = heard.replace(b"CLIENT", b"")
        writer.write(b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:1\r\n" % (len(name), name))
        writer.write(b"*3\r\n$7\r\nmessage\r\n$%d\r\n%b\r\n$%d\r\n" % (len(name), name, len(frame)))
        writer.write(frame[:1000])
        while b"PING" not in heard:
            heard += await reader.read(4096)
        writer.write(frame[1000:] + b"\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    piecemeal = await asyncio.start_server(connected, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{piecemeal.sockets[0].getsockname()[1]}"
    async with piecemeal, ChannelRuntime(NOWHERE, url, quiet_s=1.0) as runtime:
        async with frames_of(runtime, THREAD) as frames:
            assert await anext(frames) == frame
        await gone.wait()


async def test_a_long_frame_is_read_once_there_is_room_for_it_and_meanwhile_nobody_is_silent(
    server: RedisServer, publisher: Redis
) -> None:
    asked: list[int] = []
    room = asyncio.Event()

    class Waiting(FrameReceiver):
        @override
        async def admit(self, size_bytes: int) -> None:
            asked.append(size_bytes)
            await room.wait()

    frame = b"x" * (8 * MIB)
    async with runtime_on(server, quiet_s=0.5) as runtime, runtime.stream(THREAD, Waiting()) as frames:
        await publisher.publish(channel_of(THREAD), frame)
        coming = asyncio.create_task(anext(frames))
        # Longer than a server may be silent.
        await until(lambda: len(asked) > 3)
        assert set(asked) == {len(frame)}
        tracemalloc.start()
        try:
            await until(lambda: len(asked) > 5)
            assert tracemalloc.get_traced_memory()[1] < MIB
        finally:
            tracemalloc.stop()
        room.set()
        assert await coming == [frame]
        count = len(asked)
        await publisher.publish(channel_of(THREAD), b"short")
        assert await anext(frames) == [b"short"]
        assert asked[count:] == [5]


async def test_a_server_that_dies_ends_the_stream(server: RedisServer, publisher: Redis) -> None:
    async with runtime_on(server) as runtime, frames_of(runtime, THREAD) as frames:
        await publisher.publish(channel_of(THREAD), b"one")
        assert await anext(frames) == b"one"
        await server.kill()
        with pytest.raises(StreamClosed, match="broke"):
            await anext(frames)


async def test_a_server_that_answers_nothing_more_ends_the_stream(server: RedisServer) -> None:
    async with runtime_on(server, quiet_s=0.1) as runtime, frames_of(runtime, THREAD) as frames:
        server.freeze()
        try:
            with pytest.raises(StreamClosed, match="does not answer"):
                await anext(frames)
        finally:
            server.thaw()


async def test_a_stream_that_broke_does_not_mend_itself(server: RedisServer, publisher: Redis) -> None:
    async with runtime_on(server) as runtime, runtime.stream(THREAD) as frames:
        await server.kill()
        with pytest.raises(StreamClosed):
            await anext(frames)
        await server.start()
        async with server.client() as again:
            await again.publish(channel_of(THREAD), b"behind a gap")
        with pytest.raises(StreamClosed):
            await anext(frames)


async def test_a_server_that_is_away_fails_at_once(server: RedisServer) -> None:
    await server.kill()
    # More than the test may take.
    async with runtime_on(server, answer_s=600) as runtime:
        with pytest.raises(RuntimeUnavailable) as away:
            async with runtime.stream(THREAD):
                pass
    assert not away.value.sent


async def test_a_server_that_does_not_confirm_is_given_up(server: RedisServer) -> None:
    server.freeze()
    try:
        async with runtime_on(server, answer_s=0.2) as runtime:
            with pytest.raises(RuntimeUnavailable):
                async with runtime.stream(THREAD):
                    pass
    finally:
        server.thaw()


async def test_a_server_that_asks_for_a_password_gets_it_and_no_error_shows_it(
    server: RedisServer, publisher: Redis
) -> None:
    await publisher.config_set("requirepass", "a-secret")
    address = server.url.removeprefix("redis://")
    with_it = ChannelRuntime(NOWHERE, f"redis://:a-secret@{address}")
    async with with_it, frames_of(with_it, THREAD) as frames:
        await publisher.publish(channel_of(THREAD), b"one")
        assert await anext(frames) == b"one"
    for url in (server.url, f"redis://:a-secret-not@{address}"):
        async with ChannelRuntime(NOWHERE, url) as runtime:
            with pytest.raises(RuntimeUnavailable) as refused:
                async with runtime.stream(THREAD):
                    pass
        assert "secret" not in str(refused.value)


async def test_the_server_ends_a_reader_that_lags_and_here_nothing_piles_up(
    server: RedisServer, publisher: Redis
) -> None:
    await publisher.config_set("client-output-buffer-limit", "pubsub 16mb 0 0")
    frame = b"x" * MIB
    async with runtime_on(server) as runtime, frames_of(runtime, THREAD) as frames:
        await publisher.publish(channel_of(THREAD), frame)
        assert await anext(frames) == frame
        tracemalloc.start()
        try:
            sent = 0
            async with asyncio.timeout(60):
                while await publisher.publish(channel_of(THREAD), frame):
                    sent += 1
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        with pytest.raises(StreamClosed):
            await _read_all(frames)
    assert sent > 16
    assert held < MIB


async def test_who_gives_up_reading_is_let_go_at_once(server: RedisServer) -> None:
    """Even at the moment when the server is asked whether it is there: no cancellation is lost."""
    async with runtime_on(server, quiet_s=0.02) as runtime:
        for turn in range(100):
            async with frames_of(runtime, THREAD) as frames:
                coming = asyncio.ensure_future(anext(frames))
                await asyncio.wait({coming}, timeout=0.0195 + turn % 40 * 0.00003)
                coming.cancel()
                done, _ = await asyncio.wait({coming}, timeout=20)
                assert done
                await asyncio.gather(coming, return_exceptions=True)
