"""The WebSocket of the runtime's stream, byte by byte, against a server that breaks the rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from typing_extensions import override
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from server.domain.errors import LeaseLost
from server.domain.off_loop import SMALL_BYTES
from server.domain.runs.runtime import (
    READER_ALONE,
    AdmitFrame,
    FrameReceiver,
    OversizedFrame,
    StreamClosed,
)
from server.runtime.socket_reader import READ_BYTES, WHOLE_BYTES, ReadBuffers
from server.runtime.websocket import MAX_EMPTY_FRAMES, MAX_FRAGMENTS, TURN_FRAMES
from server.runtime.websocket_handshake import HandshakeRefused, NoWebSocket, open_websocket
from tests.support.hand_clock import until
from tests.support.proxy import reset
from tests.support.runtime import one_by_one
from tests.support.servers import tcp_server

MAX = 1000
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TakeFrames = Callable[[Sequence[bytes]], int]


def frame(content: bytes, opcode: Opcode = Opcode.TEXT, *, final: bool = True) -> bytes:
    return Frame(opcode, content, fin=final).serialize(mask=False)


CLOSE = frame(b"\x03\xe8", Opcode.CLOSE)


def accepted(head: bytes) -> bytes:
    """The answer to a handshake."""
    protocol = ServerProtocol()
    protocol.receive_data(head)
    [request] = protocol.events_received()
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    return b"".join(protocol.data_to_send())


class Receiver(FrameReceiver):
    """Admits, takes and reserves as these functions say. take: None to leave every frame to the reader."""

    def __init__(self, admit: AdmitFrame, take: TakeFrames | None, reserve: Callable[[int], bool]) -> None:
        self._admit, self._take, self._reserve = admit, take, reserve

    @override
    async def admit(self, size_bytes: int) -> None:
        await self._admit(size_bytes)

    @override
    def take(self, frames: Sequence[bytes], size_bytes: int) -> int:
        assert size_bytes > sum(map(len, frames))
        return 0 if self._take is None else self._take(frames)

    @override
    def reserve(self, size_bytes: int) -> bool:
        return self._reserve(size_bytes)


@asynccontextmanager
async def connected(
    script: Script,
    admit: AdmitFrame = READER_ALONE.admit,
    take: TakeFrames | None = None,
    reserve: Callable[[int], bool] = READER_ALONE.reserve,
    largest: int = MAX,
) -> AsyncIterator[AsyncIterator[bytes | OversizedFrame]]:
    """The frames of a connection to a server that does as the script says after the handshake."""

    async with opened(script, admit, take, reserve, largest) as frames:
        yield one_by_one(frames)


@asynccontextmanager
async def opened(
    script: Script,
    admit: AdmitFrame = READER_ALONE.admit,
    take: TakeFrames | None = None,
    reserve: Callable[[int], bool] = READER_ALONE.reserve,
    largest: int = MAX,
) -> AsyncIterator[Any]:
    """The same, as it is read."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(accepted(await reader.readuntil(b"\r\n\r\n")))
        await script(reader, writer)

    async with (
        tcp_server(handle) as port,
        open_websocket(
            f"ws://127.0.0.1:{port}/",
            handshake_s=60,
            max_frame_bytes=largest,
            buffers=ReadBuffers(),
            receiver=Receiver(admit, take, reserve),
        ) as frames,
    ):
        yield frames


def sends(*data: bytes, then: Script | None = None) -> Script:
    """A script that sends these bytes in one piece with the end of the handshake."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(data))
        await writer.drain()
        if then is not None:
            await then(reader, writer)

    return script


async def received(*data: bytes) -> list[bytes | OversizedFrame]:
    async with connected(sends(*data)) as frames:
        return [each async for each in frames]


async def test_messages_come_whole_in_order_and_the_close_ends_them() -> None:
    sent = [b"", b"a", b"b" * 125, b"c" * 126, b"d" * 1000, b"\xff"]
    assert await received(*map(frame, sent[:5]), frame(sent[5], Opcode.BINARY), CLOSE) == sent


async def test_fragments_are_one_message_and_control_frames_may_be_between() -> None:
    data = [
        frame(b"a", final=False),
        frame(b"ping", Opcode.PING),
        frame(b"b", Opcode.CONT, final=False),
        frame(b"", Opcode.CONT, final=False),
        frame(b"c", Opcode.CONT),
        frame(b"d"),
        CLOSE,
    ]
    assert await received(*data) == [b"abc", b"d"]


@pytest.mark.parametrize("sizes", [[1001], [600, 600], [1, 999, 1], [1001, 0], [0, 5000, 5000, 10]])
async def test_a_message_above_the_limit_is_skipped_in_one_piece_and_in_fragments(sizes: list[int]) -> None:
    last = len(sizes) - 1
    fragments = [
        frame(b"x" * size, Opcode.CONT if place else Opcode.TEXT, final=place == last)
        for place, size in enumerate(sizes)
    ]
    assert await received(frame(b"a"), *fragments, frame(b"b"), CLOSE) == [
        b"a",
        OversizedFrame(sum(sizes)),
        b"b",
    ]


async def test_a_frame_that_claims_an_absurd_length_is_not_waited_for_in_memory() -> None:
    admitted: list[int] = []

    async def admit(size: int) -> None:
        admitted.append(size)

    async with connected(sends(b"\x81\x7f" + b"\xff" * 8 + b"x" * 1000), admit) as frames:
        with pytest.raises(StreamClosed, match="broke"):
            await anext(frames)
    assert admitted == []


@pytest.mark.parametrize(
    ("sizes", "admitted"),
    [
        ([0, 100], [SMALL_BYTES]),
        ([1, 60_000, 5_535], [SMALL_BYTES]),
        ([0, SMALL_BYTES + 1, 1], [SMALL_BYTES, 1 << 20]),
        ([100_000, 100_000, 0], [1 << 20]),
        ([100_000], [100_000]),
    ],
)
async def test_fragments_are_read_once_there_is_room_for_all_that_they_may_be(
    sizes: list[int], admitted: list[int]
) -> None:
    found = list[int]()

    async def admit(size: int) -> None:
        found.append(size)

    fragments = [
        frame(b"x" * size, Opcode.CONT if place else Opcode.TEXT, final=place == len(sizes) - 1)
        for place, size in enumerate(sizes)
    ]
    async with connected(sends(*fragments, CLOSE), admit, largest=1 << 20) as frames:
        assert [each async for each in frames] == [b"x" * sum(sizes)]
    assert found == admitted


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1\x00",  # a reserved bit
        b"\x83\x00",  # a reserved kind
        b"\x81\x81aaaab",  # masked
        b"\x80\x00",  # a continuation of nothing
        b"\x01\x00\x01\x00",  # a new message within a fragmented one
        b"\x89\x7e\x00\x7e" + b"x" * 126,  # a ping that is too long
        b"\x09\x00",  # a ping in fragments
    ],
)
async def test_what_breaks_the_protocol_ends_the_stream(data: bytes) -> None:
    async with connected(sends(frame(b"a"), data, frame(b"b"))) as frames:
        assert await anext(frames) == b"a"
        with pytest.raises(StreamClosed, match="protocol"):
            await anext(frames)


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "1005"), (b"\x03\xf3why", "1011"), (b"\x0f\xa0", "4000"), (b"\x03", "1005")]
)
async def test_a_close_with_another_code_is_not_a_proper_end(content: bytes, said: str) -> None:
    async with connected(sends(frame(content, Opcode.CLOSE))) as frames:
        with pytest.raises(StreamClosed, match=f"code {said}"):
            await anext(frames)


@pytest.mark.parametrize("data", [b"", b"\x81", b"\x81\x05abc", b"\x81\x7e\x00"])
async def test_a_connection_that_ends_within_a_frame_broke(data: bytes) -> None:
    async with connected(sends(frame(b"a"), data)) as frames:
        assert await anext(frames) == b"a"
        with pytest.raises(StreamClosed, match="broke"):
            await anext(frames)


def test_a_reset_connection_broke_on_the_event_loop_of_the_hub_as_well() -> None:
    async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(b"a"))
        await writer.drain()
        await read.wait()
        reset(writer)

    async def main() -> None:
        async with connected(resets) as frames:
            assert await anext(frames) == b"a"
            read.set()
            with pytest.raises(StreamClosed, match="broke"):
                await anext(frames)

    read = asyncio.Event()
    uvloop.run(main())


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run])
def test_what_a_server_sent_before_it_left_is_read_though_its_pings_get_no_answer(
    loop: Callable[[Awaitable[None]], None],
) -> None:
    left = 0

    async def leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        for _ in range(200):
            writer.write(frame(b"", Opcode.PING) + frame(b"x" * 1000))
        writer.write(CLOSE)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        left += 1

    async def main() -> None:
        async with connected(leaves) as frames:
            await until(lambda: left)
            received = []
            async for each in frames:
                received.append(each)
                # The kernels exchange what they have, in between.
                await asyncio.sleep(0.001)
        assert received == [b"x" * 1000] * 200

    loop(main())


class Sender:
    """A script whose pieces a test sends while the client waits for them, each for a read of its own."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(await self._pieces.get())

    def send(self, *data: bytes) -> None:
        self._pieces.put_nowait(b"".join(data))


async def test_frames_that_come_whole_are_offered_before_they_are_read() -> None:
    sender, offered, taken = Sender(), list[list[bytes]](), asyncio.Queue[None]()

    def take(frames: Sequence[bytes]) -> int:
        offered.append(list(frames))
        taken.put_nowait(None)
        return len(frames) - frames.count(b"not taken")

    async with connected(sender, take=take) as frames:
        reading = asyncio.ensure_future(anext(frames))
        for contents in ([b"taken"], [b"x" * 126, b"y" * MAX]):
            sender.send(*map(frame, contents))
            await taken.get()
            assert offered[-1] == contents
            assert not reading.done()
        sender.send(frame(b"taken"), frame(b"not taken"), frame(b"", Opcode.PING))
        assert await reading == b"not taken"
        assert offered[-1] == [b"taken", b"not taken"]


async def test_a_frame_without_content_is_not_waited_for() -> None:
    sender = Sender()
    async with connected(sender, take=len) as frames:
        reading = asyncio.ensure_future(anext(frames))
        # Its two bytes could be the beginning of a longer frame.
        sender.send(frame(b""))
        assert await reading == b""


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run])
def test_a_frame_whose_rest_is_to_come_is_offered_once_it_is_whole(
    loop: Callable[[Awaitable[None]], None],
) -> None:
    async def main() -> None:
        sender, taken = Sender(), asyncio.Queue[Sequence[bytes]]()

        def take(frames: Sequence[bytes]) -> int:
            taken.put_nowait(frames[:])
            return len(frames)

        whole = frame(b"long" * 100)
        async with opened(sender, take=take) as frames:
            reading = asyncio.ensure_future(anext(frames))
            for size in (1, 2, 3, 4, 5, len(whole) - 1):
                sender.send(frame(b"short"), whole[:size])
                assert await taken.get() == [b"short"]
                sender.send(whole[size:], frame(b"end"))
                assert await taken.get() == [b"long" * 100, b"end"]
            assert not reading.done()
            reading.cancel()

    loop(main())


@pytest.mark.parametrize(
    ("data", "read"),
    [
        ([frame(b"one", final=False), frame(b"two", Opcode.CONT)], [b"onetwo"]),
        ([frame(b"a ping", Opcode.PING), frame(b"one")], [b"one"]),
        ([frame(b"x" * (MAX + 1)), frame(b"one")], [OversizedFrame(MAX + 1), b"one"]),
        # Its length is in eight bytes, and its first byte could be taken for the length.
        ([b"\x81\x7f" + (119).to_bytes(8, "big") + b"x" * 119], [b"x" * 119]),
    ],
)
async def test_what_is_not_in_one_small_frame_is_read(
    data: list[bytes], read: list[bytes | OversizedFrame]
) -> None:
    sender, offered = Sender(), list[bytes]()

    def take(frames: Sequence[bytes]) -> int:
        offered.extend(frames)
        return 0

    async with connected(sender, take=take) as frames:
        for expected in read:
            reading = asyncio.ensure_future(anext(frames))
            if expected == read[0]:
                sender.send(*data)
            assert await reading == expected
    assert offered == []


async def test_a_frame_behind_a_ping_is_read_as_the_ping_is() -> None:
    sender, offered = Sender(), list[bytes]()

    def take(frames: Sequence[bytes]) -> int:
        offered.extend(frames)
        return 0

    async with connected(sender, take=take) as frames:
        reading = asyncio.ensure_future(anext(frames))
        sender.send(frame(b"a ping", Opcode.PING)[:-1])
        sender.send(frame(b"a ping", Opcode.PING)[-1:], frame(b"one"))
        assert await reading == b"one"
    assert offered == []


async def test_what_stops_a_run_at_an_offered_frame_ends_its_reading() -> None:
    sender = Sender()

    def take(frames: Sequence[bytes]) -> int:
        raise LeaseLost

    async with connected(sender, take=take) as frames:
        reading = asyncio.ensure_future(anext(frames))
        sender.send(frame(b"one"))
        with pytest.raises(LeaseLost):
            await reading


async def test_a_ping_is_answered_with_its_content_masked() -> None:
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered.set_result(await reader.readexactly(2 + 4 + 5))
        writer.write(CLOSE)
        await writer.drain()

    async with connected(sends(frame(b"hello", Opcode.PING), then=read)) as frames:
        assert [each async for each in frames] == []
    header, mask, content = (await answered)[:2], (await answered)[2:6], (await answered)[6:]
    assert header == b"\x8a\x85"
    assert bytes(byte ^ mask[place % 4] for place, byte in enumerate(content)) == b"hello"


async def test_a_frame_waits_at_the_sender_until_it_is_admitted() -> None:
    room = asyncio.Event()
    admitted: list[int] = []
    sent = 0

    async def admit(size: int) -> None:
        admitted.append(size)
        await room.wait()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for _ in range(100_000):
            writer.write(frame(b"x" * 1000))
            await writer.drain()
            sent += 1
        writer.write(CLOSE)
        await writer.drain()

    async with connected(script, admit) as frames:
        first = asyncio.ensure_future(anext(frames))
        seen = -1
        while seen != sent or not admitted:
            seen = sent
            await asyncio.sleep(0.2)
        # What the sockets hold, and no more: 100 MB are to come.
        assert sent < 20_000
        assert len(admitted) == 1
        assert admitted[0] <= READ_BYTES
        room.set()
        assert await first == b"x" * 1000
        assert sum([1 async for _ in frames]) == 99_999


# --- Large frames --------------------------------------------------------------------------------

#: Contents of frames that are read whole, of the next smaller and larger ones, and between them.
SOME_LARGE = [
    b"a" * 10,
    b"b" * READ_BYTES,
    b"c" * (WHOLE_BYTES - 10),
    b"d" * (READ_BYTES - 1),
    b"e" * (WHOLE_BYTES - 9),
    b"",
    b"f" * 100_000,
    b"g" * 200_000,
]


@pytest.mark.parametrize("piece_bytes", [1 << 20, 1 << 16, 40_000, 12_345])
async def test_a_large_frame_is_offered_whole_while_its_reader_waits(piece_bytes: int) -> None:
    offered, reserved, sent = list[bytes](), list[int](), b"".join(map(frame, SOME_LARGE)) + CLOSE

    def take(frames: Sequence[bytes]) -> int:
        offered.extend(frames)
        return len(frames)

    def reserve(size_bytes: int) -> bool:
        reserved.append(size_bytes)
        return True

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for at in range(0, len(sent), piece_bytes):
            writer.write(sent[at : at + piece_bytes])
            await writer.drain()

    async with connected(script, take=take, reserve=reserve, largest=1 << 20) as frames:
        read = [each async for each in frames]
    large = [each for each in SOME_LARGE if READ_BYTES <= len(each) <= WHOLE_BYTES - 10]
    # One that is larger, and what came with it, may be the reader's.
    assert set(large) - {SOME_LARGE[6]} <= set(offered)
    assert len(offered) + len(read) == len(SOME_LARGE)
    assert [each for each in SOME_LARGE if each in read] == read
    assert [each for each in SOME_LARGE if each in offered] == offered
    assert reserved == [ReadBuffers.BYTES] * len(reserved)


async def test_a_large_frame_without_room_waits_for_it_as_the_readers() -> None:
    admitted = list[int]()

    async def admit(size_bytes: int) -> None:
        admitted.append(size_bytes)

    def take(frames: Sequence[bytes]) -> int:
        assert [len(each) for each in frames if len(each) >= READ_BYTES] == []
        return len(frames)

    large = [b"x" * 100_000, b"y" * 100_000]
    script = sends(*map(frame, large), CLOSE)
    async with connected(script, admit, take, largest=1 << 20) as frames:
        assert [each async for each in frames] == large
    assert admitted == [100_000, 100_000]


async def test_a_large_frame_that_is_not_taken_is_the_readers_and_so_is_what_comes_after_it() -> None:
    async def admit(size_bytes: int) -> None:
        assert size_bytes < READ_BYTES

    contents = [b"x" * 100_000, b"y", b"z" * 100_000, b"end"]
    script = sends(*map(frame, contents), CLOSE)
    async with connected(script, admit, reserve=lambda _: True, largest=1 << 20) as frames:
        assert [each async for each in frames] == contents


async def test_a_stream_that_breaks_within_a_large_frame_is_closed() -> None:
    script = sends(frame(b"a" * 100_000), frame(b"b" * 100_000)[:-1])
    async with connected(script, take=len, reserve=lambda _: True, largest=1 << 20) as frames:
        with pytest.raises(StreamClosed, match="broke"):
            await anext(frames)


async def test_a_reader_that_is_cancelled_within_a_large_frame_can_read_on() -> None:
    rest = asyncio.Event()
    content = b"a" * 100_000
    begun = asyncio.Event()

    def reserve(_: int) -> bool:
        begun.set()
        return True

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(content)[:50_000])
        await writer.drain()
        await rest.wait()
        writer.write(frame(content)[50_000:] + CLOSE)

    async with opened(script, reserve=reserve, largest=1 << 20) as frames:
        reading = asyncio.ensure_future(anext(frames))
        await begun.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        rest.set()
        assert await anext(frames) == [content]


# --- The handshake ---------------------------------------------------------------------------------


@asynccontextmanager
async def answering(data: bytes, *, stays: bool = False) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        if stays:
            await asyncio.Event().wait()

    async with tcp_server(handle) as port:
        yield f"ws://127.0.0.1:{port}/"


async def _open(url: str, handshake_s: float = 60) -> None:
    async with open_websocket(
        url, handshake_s=handshake_s, max_frame_bytes=MAX, buffers=ReadBuffers(), receiver=READER_ALONE
    ):
        pytest.fail("the stream opened")


@pytest.mark.parametrize(
    "rest",
    [
        b"content-length: 5\r\n\r\nhello",
        b"content-length: 9\r\n\r\nhalf",
        b"content-length: 99999999\r\n\r\n" + b"x" * 200_000,
        b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 10_000,
        b"\r\n",
    ],
    ids=["a body", "half of one", "a long one", "chunks of a byte", "none"],
)
async def test_a_refusal_has_its_status_and_its_body_is_not_waited_for(rest: bytes) -> None:
    """It may come in chunks of a byte, each of which takes time, or not at all."""
    async with answering(b"HTTP/1.1 403 Forbidden\r\n" + rest, stays=True) as url:
        with pytest.raises(HandshakeRefused) as refused:
            # Less than the second for which it was waited for.
            await _open(url, handshake_s=0.9)
    assert refused.value.status == 403


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: no\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000,
    ],
)
async def test_an_answer_that_is_not_a_handshake_is_no_stream(data: bytes) -> None:
    async with answering(data) as url:
        with pytest.raises(NoWebSocket):
            await _open(url)


async def test_a_handshake_without_an_answer_is_given_up() -> None:
    async with answering(b"HTTP/1.1 101", stays=True) as url:
        with pytest.raises(TimeoutError):
            await _open(url, handshake_s=0.1)


@pytest.mark.parametrize(
    "data",
    [frame(b"", Opcode.PING), frame(b"x", Opcode.PONG), frame(b"", Opcode.CONT, final=False)],
    ids=["pings", "pongs", "empty fragments"],
)
async def test_frames_without_content_and_without_an_end_end_the_stream(data: bytes) -> None:
    began = frame(b"", final=False) if data == frame(b"", Opcode.CONT, final=False) else b""
    async with connected(sends(began, data * MAX_EMPTY_FRAMES * 2)) as frames:
        with pytest.raises(StreamClosed, match="no end"):
            await anext(frames)


async def test_pings_of_a_stream_that_lasts_are_no_flood() -> None:
    """They are counted anew with each ping of the hub's."""
    some = frame(b"", Opcode.PING) * MAX_EMPTY_FRAMES
    async with opened(sends(some, frame(b"a"), some, frame(b"b"))) as frames:
        read = one_by_one(frames)
        assert await anext(read) == b"a"
        frames._ping()
        assert await anext(read) == b"b"


async def test_other_work_has_its_turn_among_frames_that_were_read_ahead() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with connected(sends(frame(b"", Opcode.PING) * MAX_EMPTY_FRAMES, frame(b"a"))) as frames:
        counting = asyncio.create_task(count())
        assert await anext(frames) == b"a"
        counting.cancel()
    assert turns > MAX_EMPTY_FRAMES // TURN_FRAMES // 2


async def test_a_message_in_too_many_fragments_ends_the_stream() -> None:
    fragments = frame(b"a", Opcode.CONT, final=False) * MAX_FRAGMENTS
    async with connected(sends(frame(b"", final=False), fragments)) as frames:
        with pytest.raises(StreamClosed, match="protocol"):
            await anext(frames)
