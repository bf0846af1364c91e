"""What a client may send over HTTP and WebSockets, and how long it may take for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from server.http.http_protocol import MAX_BLANK_BYTES, MAX_PIPELINED, MAX_UNREAD_BYTES
from server.http.request_head import MAX_HEADERS
from server.http.websocket_limits import BYTES, FRAMES, MAX_FRAGMENTS
from tests.support.hand_clock import PATIENCE_S
from tests.support.http_interface import HttpInterface, http_interface, socket
from tests.support.hub import RunningHub, start

QUIET = "[[replay:short_run silent=20]]"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /api/workflows HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%s\r\n"


@pytest.fixture
async def reasons() -> list[str]:
    """Why clients were cut off."""
    return []


@pytest.fixture
async def interface(hub: RunningHub, reasons: list[str]) -> AsyncIterator[HttpInterface]:
    async with http_interface(hub.core, on_cut_off=reasons.append) as opened:
        yield opened


@pytest.fixture
async def impatient(hub: RunningHub, reasons: list[str]) -> AsyncIterator[HttpInterface]:
    """One that soon gives up waiting for a request."""
    times = {"head_deadline_s": 0.5, "body_deadline_s": 0.5}
    async with http_interface(hub.core, on_cut_off=reasons.append, **times) as opened:
        yield opened


def bearer_line(hub: RunningHub) -> bytes:
    return b"Authorization: Bearer " + hub.token().encode() + b"\r\n"


class Client:
    """A client that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.answer = b""

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def until_answer(self, ending: bytes) -> None:
        while not self.answer.endswith(ending):
            data = await self._reader.read(65536)
            assert data, f"the connection ended after {self.answer!r}"
            self.answer += data

    async def until_end(self, *, sending: bytes = b"") -> bytes:
        """Send on until the server ends the connection; everything that it answered."""

        async def flood() -> None:
            while sending:
                await self.send(sending)

        flooding = asyncio.create_task(flood())
        try:
            async with asyncio.timeout(PATIENCE_S):
                with suppress(ConnectionError):
                    while data := await self._reader.read(65536):
                        self.answer += data
        finally:
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
        return self.answer


@asynccontextmanager
async def connected(interface: HttpInterface) -> AsyncIterator[Client]:
    host, _, port = interface.http.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


# --- WebSockets ---------------------------------------------------------------------------------


def frame(opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A client's frame."""
    return Frame(opcode, payload, fin).serialize(mask=True)


async def test_a_sockets_client_that_sends_too_much_is_closed(
    hub: RunningHub, interface: HttpInterface, reasons: list[str]
) -> None:
    too_many = int(FRAMES.burst) + 1
    floods = (
        frame(Opcode.PONG) * too_many,
        frame(Opcode.PING) * too_many,
        frame(Opcode.TEXT, b"x") * too_many,
        frame(Opcode.BINARY) * too_many,
        frame(Opcode.TEXT, fin=False) + frame(Opcode.CONT, fin=False) * MAX_FRAGMENTS,
        frame(Opcode.TEXT, b"x" * 4000) * (int(BYTES.burst) // 4000 + 1),
    )
    async with hub.client() as client:
        thread = (await start(client, QUIET))["thread_id"]
    for sent in floods:
        async with socket(interface.http, thread, hub.token(), "ideo.v1") as opened:
            opened.transport.write(sent)
            with suppress(ConnectionClosed):
                async with asyncio.timeout(PATIENCE_S):
                    async for _ in opened:
                        pass
            # The close may be lost to a reset, because the server does not read on.
            assert opened.close_code in (1009, 1006)
        await interface.until_connections(0)
    assert (reasons, hub.core.broadcaster.readers) == (["flood"] * len(floods), 0)


async def test_what_clients_usually_send_is_taken(
    hub: RunningHub, interface: HttpInterface, reasons: list[str]
) -> None:
    async with hub.client() as client:
        thread = (await start(client, QUIET))["thread_id"]
    async with socket(interface.http, thread, hub.token(), "ideo.v1") as opened:
        await opened.send("x" * 4096)
        await opened.send(["x"] * 100)
        for _ in range(20):
            await opened.send('{"type": "auth", "token": "' + hub.token() + '"}')
            await (await opened.ping(b"x" * 125))
    assert reasons == []


# --- HTTP ---------------------------------------------------------------------------------------


async def test_blank_lines_do_not_keep_a_connection(impatient: HttpInterface, reasons: list[str]) -> None:
    for before, told in ((b"", b" 408 "), (HEALTH, b" 200 ")):
        async with connected(impatient) as client:
            if before:
                await client.send(before)
                await client.until_answer(b"}")

            async def blank(client: Client = client) -> None:
                while True:
                    await client.send(b"\r\n")
                    await asyncio.sleep(0.1)

            sending = asyncio.create_task(blank())
            try:
                assert told in await client.until_end()
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
    assert reasons == ["late_request"] * 2


async def test_many_blank_lines_behind_an_answer_end_the_connection(
    interface: HttpInterface, reasons: list[str]
) -> None:
    async with connected(interface) as client:
        await client.send(HEALTH)
        await client.until_answer(b"}")
        await client.send(b"\r\n" * (MAX_BLANK_BYTES // 2))
        client.answer = b""
        await client.send(HEALTH)
        await client.until_answer(b"}")
        assert reasons == []
        client.answer = b""
        await client.send(b"\r\n" * (MAX_BLANK_BYTES // 2 + 1))
        assert await client.until_end() == b""
    assert reasons == ["flood"]


async def test_a_chunked_body_that_does_not_come_to_its_end_is_given_up(
    hub: RunningHub, impatient: HttpInterface
) -> None:
    for after in (b"0\r\n", b"0\r\nX: y\r\n", b"1\r\n \r\n", b"1;x=y"):
        async with connected(impatient) as client:
            await client.send(CHUNKED % bearer_line(hub) + after)
            assert b" 408 " in await client.until_end()


async def test_every_part_of_a_request_is_bounded(hub: RunningHub, reasons: list[str]) -> None:
    begin = CHUNKED % bearer_line(hub)
    parts = {
        b"a:\r\n": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n", begin + b"0\r\n"),
        b"x": (b"GET /", b"GET / HTTP/1.1\r\nx", begin + b"0\r\na: "),
        b"x=y;": (begin + b"1;",),
        b"1\r\n \r\n": (begin,),
    }
    async with http_interface(hub.core, on_cut_off=reasons.append) as interface:
        for unit, beginnings in parts.items():
            for sent in beginnings:
                async with connected(interface) as client:
                    await client.send(sent)
                    answer = await client.until_end(sending=unit * (65536 // len(unit)))
                # The answer may be lost to a reset, because the server does not read on.
                assert answer == b"" or answer.split()[1] in (b"400", b"413"), (sent, answer)
        await interface.until_connections(0)
    assert "late_request" not in reasons


async def test_the_body_of_a_refused_request_is_not_read(
    interface: HttpInterface, reasons: list[str]
) -> None:
    for path, status in ((b"/api/workflows", b"401"), (b"/nothing", b"404")):
        async with connected(interface) as client:
            await client.send(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n" % path)
            await client.until_answer(b"}")
            answer = await client.until_end(sending=b" " * 65536)
        assert answer.split()[1] == status
    assert reasons == ["large_request"] * 2


async def test_what_is_dropped_of_answered_requests_is_dropped_in_turns(interface: HttpInterface) -> None:
    refused = b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n"
    before: dict[int, int] = {}
    most = 0

    def look() -> None:
        nonlocal most
        grown = 0
        for connection in interface.connections:
            seen = before.get(id(connection), 0)
            before[id(connection)] = connection._request_bytes
            # What has arrived before the first pause is read at once.
            grown += connection._request_bytes > max(seen, 1 << 20)
        most = max(most, grown)
        asyncio.get_running_loop().call_soon(look)

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(interface)) for _ in range(20)]
        for client in clients:
            await client.send(refused)
            await client.until_answer(b"}")
        look()
        await asyncio.gather(*(client.send(b" " * 4_999_999) for client in clients))
        for client in clients:
            await client.send(b" " + HEALTH)
            await client.until_answer(b'{"status":"ok"}')
    assert 0 < most <= 3


async def test_after_a_refusal_with_a_small_body_the_connection_goes_on(interface: HttpInterface) -> None:
    async with connected(interface) as client:
        await client.send(b"POST /api/workflows HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
        await client.until_answer(b"}")
        await client.send(b" " * 60_000 + HEALTH)
        await client.until_answer(b'{"status":"ok"}')
    assert b" 401 " in client.answer


async def test_who_follows_events_may_send_little(hub: RunningHub, interface: HttpInterface) -> None:
    async with hub.client() as client:
        thread = (await start(client, QUIET))["thread_id"]
    for unit in (b"\r\n", HEALTH):
        async with connected(interface) as follower:
            await follower.send(
                f"GET /api/refinements/{thread}/events HTTP/1.1\r\nHost: x\r\n".encode()
                + bearer_line(hub)
                + b"Accept: text/event-stream\r\n\r\n"
            )
            await follower.until_answer(b"\n\r\n")
            await follower.until_end(sending=unit * (2 * MAX_UNREAD_BYTES // len(unit)))
        await interface.until_connections(0)
        assert hub.core.broadcaster.readers == 0


async def test_few_requests_wait_on_one_connection(interface: HttpInterface) -> None:
    async with connected(interface) as client:
        await client.send(HEALTH * (MAX_PIPELINED + 1))
        await client.until_answer(b"}")
        await client.send(HEALTH * (MAX_PIPELINED + 2))
        assert b" 400 " in await client.until_end()


async def test_a_head_has_so_many_headers(interface: HttpInterface) -> None:
    async with httpx.AsyncClient(base_url=interface.http, trust_env=False, timeout=60) as client:
        for count, status in ((MAX_HEADERS - 10, 200), (MAX_HEADERS + 1, 400)):
            headers = {f"x-{n}": "1" for n in range(count)}
            assert (await client.get("/healthz", headers=headers)).status_code == status


async def test_an_unknown_upgrade_is_ignored_and_nothing_is_read_after_it(interface: HttpInterface) -> None:
    for what in (b"h2c", b"TLS/1.3", b"websocket2"):
        async with connected(interface) as client:
            await client.send(
                b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + what + b"\r\n\r\n"
            )
            answer = await client.until_end()
        assert b" 200 " in answer
        assert b"connection: close" in answer
