"""The calls of webhooks: which addresses they reach, and how they fail."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import httpcore
import pytest

from server.bounded_http import (
    MAX_ANSWER_BYTES,
    MAX_ANSWER_LINES,
    READ_BYTES,
    READ_LINES,
    BoundedNetwork,
    BoundedStream,
    LoopShare,
)
from server.domain.webhooks.delivery import PLACES, SendFailed
from server.domain.webhooks.targets import AllowedHosts, parse_target
from server.webhooks.sender import MAX_BODY_BYTES, MAX_PIECES, HttpSender, _read_beginning
from tests.support.certificates import Authority, write
from tests.support.receiver import receiver
from tests.support.servers import answer, free_port, read_request, tcp_server
from tests.support.tickets import TicketServer

LOOPBACK = ("127.0.0.0/8",)


@asynccontextmanager
async def a_sender(allowed: tuple[str, ...] = LOOPBACK, **options: Any) -> AsyncIterator[HttpSender]:
    async with HttpSender(AllowedHosts(allowed), media_type="text/plain", **options) as made:
        yield made


async def failure(sender: HttpSender, url: str) -> str:
    """How a call fails."""
    with pytest.raises(SendFailed) as failed:
        await sender.send(parse_target(url), {}, b"body")
    return failed.value.failure


async def test_a_call_is_a_post_to_the_path_and_query_with_the_named_host() -> None:
    async with receiver(201) as listening, a_sender() as sender:
        port = listening.url.rpartition(":")[2]
        url = f"http://localhost:{port}/a/b%20c?x=1&y=%C3%A9"
        assert await sender.send(parse_target(url), {"webhook-id": "1"}, b"body") == 201
    [call] = listening.calls
    assert (call.path, call.body) == ("/a/b%20c?x=1&y=%C3%A9", b"body")
    expected = {
        "host": f"localhost:{port}",
        "webhook-id": "1",
        "content-length": "4",
        "content-type": "text/plain",
    }
    assert {name: call.headers[name] for name in expected} == expected
    assert call.headers["user-agent"].startswith("ide-orchestrator/")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_what_listens_on_the_hubs_own_machine_is_not_reached(host: str) -> None:
    """Also by a name that is looked up: what is checked is where the connection goes."""
    async with receiver() as listening, a_sender(()) as sender:
        port = listening.url.rpartition(":")[2]
        for scheme in ("http", "https"):
            assert await failure(sender, f"{scheme}://{host}:{port}/") == "address"
    assert listening.calls == []


async def test_an_allowed_name_leads_nowhere_but_to_itself() -> None:
    async with receiver() as listening, a_sender(("localhost",)) as sender:
        port = listening.url.rpartition(":")[2]
        assert await sender.send(parse_target(f"http://localhost:{port}"), {}, b"") == 204
        assert await failure(sender, f"http://127.0.0.1:{port}") == "address"
    assert len(listening.calls) == 1


async def test_a_name_that_nobody_knows_has_no_address() -> None:
    async with a_sender(("receiver.invalid",)) as sender:
        assert await failure(sender, "https://receiver.invalid/") == "address"


@asynccontextmanager
async def sending(*parts: bytes) -> AsyncIterator[int]:
    """The port of a receiver that answers with these parts, the last one again and again."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.writelines(parts[:-1])
        while True:
            writer.write(parts[-1])
            await writer.drain()

    async with tcp_server(handle) as port:
        assert isinstance(port, int)
        yield port


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 100 Continue\r\n\r\n" * 100],
        [b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 100],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\na: ", b"b" * 1000],
    ],
    ids=["interim answers", "headers", "a header"],
)
async def test_an_answer_whose_head_does_not_end_is_given_up_before_the_calls_time_is_over(
    parts: list[bytes],
) -> None:
    async with sending(*parts) as port, a_sender(call_s=60) as sender:
        assert await asyncio.wait_for(failure(sender, f"http://127.0.0.1:{port}"), 20) == "connection"


async def test_an_answer_in_very_small_pieces_is_read_a_little_at_a_time() -> None:
    """What is read at a time is parsed in one turn of the event loop."""
    async with sending(b"1\r\nx\r\n" * 20_000) as port:
        network = httpcore.AnyIOBackend()
        stream = BoundedStream(await network.connect_tcp("127.0.0.1", port), LoopShare())
        await stream.write(b"GET / HTTP/1.1\r\n\r\n")
        read = [await stream.read(MAX_ANSWER_BYTES) for _ in range(5)]
        await stream.aclose()
    assert max(map(len, read)) <= READ_BYTES
    assert max(each.count(b"\n") for each in read) <= READ_LINES


async def test_an_answer_with_more_lines_than_any_needs_is_given_up() -> None:
    """A line costs the same whatever its length."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await read_request(reader)
        writer.write(b"HTTP/1.1 204 None\r\n" + b"a:\r\n" * int(body) + b"\r\n")
        await writer.drain()

    async with tcp_server(respond) as port, a_sender() as sender:
        target = parse_target(f"http://127.0.0.1:{port}")
        assert await sender.send(target, {}, b"100") == 204
        with pytest.raises(SendFailed, match="connection"):
            await sender.send(target, {}, b"%d" % MAX_ANSWER_LINES)


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause_s: float) -> None:
    """Answer with a head that never ends, a byte at a time."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(pause_s)


async def test_an_answer_that_comes_by_the_byte_is_given_up() -> None:
    async with tcp_server(partial(trickle, pause_s=0)) as port, a_sender(call_s=60) as sender:
        assert await asyncio.wait_for(failure(sender, f"http://127.0.0.1:{port}"), 30) == "connection"


async def test_what_is_unusual_of_many_answers_is_read_one_after_the_other() -> None:
    """Each read is followed by ten times as much for others."""
    share, passes, taken = LoopShare(), 0, list[tuple[int, float, float]]()

    async def count_passes() -> None:
        nonlocal passes
        while True:
            await asyncio.sleep(0)
            passes += 1

    async def parse() -> None:
        await share.take()
        began = time.monotonic()
        until = time.thread_time() + 0.005
        while time.thread_time() < until:
            pass
        taken.append((passes, began, time.monotonic()))

    counting = asyncio.create_task(count_passes())
    await asyncio.gather(*(parse() for _ in range(6)))
    counting.cancel()
    assert len({number for number, _, _ in taken}) == len(taken)
    pauses = [began - ended for (_, _, ended), (_, began, _) in pairwise(taken)]
    assert min(pauses) > 0.005 * 8


async def test_each_answer_of_a_connection_has_its_own_room() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(answer(200, bytes(15 << 10), connection="keep-alive"))

    async with tcp_server(handle) as port, a_sender() as sender:
        target = parse_target(f"http://127.0.0.1:{port}")
        assert [await sender.send(target, {}, b"") for _ in range(8)] == [200] * 8


async def test_a_redirect_is_an_answer() -> None:
    async with receiver() as elsewhere, receiver(302) as listening, a_sender() as sender:
        listening.headers["location"] = elsewhere.url
        assert await sender.send(parse_target(listening.url), {}, b"") == 302
    assert elsewhere.calls == []


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver() as proxy, receiver() as listening, a_sender() as sender:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert await sender.send(parse_target(listening.url), {}, b"") == 204
    assert proxy.calls == []


async def test_a_receiver_that_does_not_listen_or_hangs_up_is_no_connection() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"I am no HTTP server\r\n\r\n")
        await writer.drain()

    async with tcp_server(hang_up) as one, tcp_server(babble) as two, a_sender() as sender:
        for port in (one, two, free_port()):
            assert await failure(sender, f"http://127.0.0.1:{port}") == "connection"


async def test_a_receiver_that_does_not_answer_in_time_is_left() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    slow = partial(trickle, pause_s=0.05)
    async with tcp_server(silent) as one, tcp_server(slow) as two, a_sender(call_s=0.5) as sender:
        for port in (one, two):
            assert await failure(sender, f"http://127.0.0.1:{port}") == "timeout"


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("rest", ["stalls", "is cut off", "not a chunk"])
async def test_an_answer_counts_with_its_status_whatever_becomes_of_the_rest(status: int, rest: str) -> None:
    """Otherwise the receiver would get an event again and again that it has taken."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 %d Some\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n" % status)
        if rest == "not a chunk":
            writer.write(b"none\r\n")
        await writer.drain()
        if rest == "stalls":
            await reader.read()
        writer.close()

    async with tcp_server(respond) as port, a_sender(answer_s=0.2) as sender:
        assert await sender.send(parse_target(f"http://127.0.0.1:{port}"), {}, b"") == status


async def test_of_a_large_answer_only_the_beginning_is_read() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            sent += 0x10000
            await writer.drain()

    async with tcp_server(flood) as port, a_sender() as sender:
        assert await sender.send(parse_target(f"http://127.0.0.1:{port}"), {}, b"") == 200
    assert sent < 64 << 20


async def test_a_certificate_must_be_valid_for_the_name(tmp_path: Path) -> None:
    authority = Authority()
    trusting = ssl.create_default_context(cadata=authority.pem.decode())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer(204, b""))
        await writer.drain()
        writer.close()

    async def outcome(*names: str, expired: bool = False, by: ssl.SSLContext | None = trusting) -> int | str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*write(tmp_path, authority.pair(*names, expired=expired)))
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        async with server, a_sender(tls=by) as sender:
            port = server.sockets[0].getsockname()[1]
            try:
                return await sender.send(parse_target(f"https://localhost:{port}/"), {}, b"")
            except SendFailed as failed:
                return failed.failure

    assert await outcome("localhost") == 204
    assert await outcome("other.example") == "tls"
    assert await outcome("127.0.0.1") == "tls"
    assert await outcome("localhost", expired=True) == "tls"
    assert await outcome("localhost", by=None) == "tls"


async def test_a_name_is_called_at_its_permitted_addresses_alone_and_looked_up_once() -> None:
    """What a resolver says next, once an address is checked, does not matter."""
    answers = [["10.0.0.1", "169.254.169.254", "127.0.0.1"], ["10.0.0.1"]]

    def look_up(host: str, port: int, *query: Any) -> list[Any]:
        return [(0, 0, 0, "", (address, port)) for address in answers.pop(0)]

    async with receiver() as listening, a_sender(look_up=look_up) as sender:
        url = f"http://rebinding.example:{listening.url.rpartition(':')[2]}"
        assert await sender.send(parse_target(url), {}, b"") == 204
        assert len(answers) == 1


async def test_names_that_take_long_hold_up_no_other_call() -> None:
    """As many as there are places, each resolved by a server that does not answer."""
    released = threading.Event()

    def look_up(host: str, port: int, *query: Any) -> list[Any]:
        if host.endswith(".slow.example"):
            released.wait(20)
        return [(0, 0, 0, "", ("127.0.0.1", port))]

    async with receiver() as listening, a_sender(look_up=look_up) as sender:
        port = listening.url.rpartition(":")[2]
        slow = [
            sender.send(parse_target(f"http://{number}.slow.example:{port}"), {}, b"")
            for number in range(PLACES)
        ]
        waiting = asyncio.gather(*slow)
        await asyncio.sleep(0)
        assert await sender.send(parse_target(f"http://quick.example:{port}"), {}, b"") == 204
        assert not waiting.done()
        released.set()
        assert set(await waiting) == {204}


async def test_a_receiver_that_sends_nothing_but_session_tickets_is_given_up(tmp_path: Path) -> None:
    """They are no data, and each takes time."""
    authority = Authority()
    server = TicketServer(*write(tmp_path, authority.pair("127.0.0.1")))
    trusting = ssl.create_default_context(cadata=authority.pem.decode())
    async with tcp_server(server.serve) as port, a_sender(call_s=60, tls=trusting) as sender:
        assert await asyncio.wait_for(failure(sender, f"https://127.0.0.1:{port}/"), 20) == "connection"
    assert server.requests == 1


class CountedShare(LoopShare):
    """Counts who waits for it."""

    taken = 0

    async def take(self) -> None:
        self.taken += 1
        await super().take()


@asynccontextmanager
async def secured(
    port: int, authority: Authority, share: LoopShare
) -> AsyncIterator[httpcore.AsyncNetworkStream]:
    plain = await BoundedNetwork(share).connect_tcp("127.0.0.1", port)
    try:
        trusting = ssl.create_default_context(cadata=authority.pem.decode())
        made = await plain.start_tls(trusting, "127.0.0.1")
        await made.write(b"GET / HTTP/1.1\r\n\r\n")
        yield made
    finally:
        await plain.aclose()


async def test_messages_of_tls_wait_for_the_share_that_all_connections_have(tmp_path: Path) -> None:
    authority, share = Authority(), CountedShare()
    server = TicketServer(*write(tmp_path, authority.pair("127.0.0.1")))
    async with tcp_server(server.serve) as port, secured(port, authority, share) as stream:
        with pytest.raises((httpcore.ReadError, OSError)):
            await stream.read(1 << 16)
    assert share.taken


async def test_a_large_body_over_tls_is_read_whole_and_waits_for_nothing(tmp_path: Path) -> None:
    authority, share, body = Authority(), CountedShare(), bytes(4 << 20)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*write(tmp_path, authority.pair("127.0.0.1")))

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()
        writer.write(body)
        await writer.drain()

    async with tcp_server(serve, ssl=tls) as port, secured(port, authority, share) as stream:
        received = len(await stream.read(1 << 16))
        cast(BoundedStream, stream).head_ended()
        while received < len(body) + 19:
            received += len(await stream.read(1 << 16))
    assert not share.taken


async def test_a_handshake_of_tls_without_an_end_is_given_up() -> None:
    """A client ignores requests for another handshake in the middle of one (RFC 5246, section 7.4.1.1)."""

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.read(1)
        while True:
            writer.write(b"\x16\x03\x03\x40\x00" + bytes(1 << 14))
            await writer.drain()

    async with tcp_server(serve) as port, a_sender(call_s=60) as sender:
        assert await asyncio.wait_for(failure(sender, f"https://127.0.0.1:{port}/"), 20) == "connection"


class _Counted:
    """A body of endless pieces. read: how many of them were."""

    def __init__(self, piece: bytes) -> None:
        self._piece, self.read = piece, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.read += 1
            yield self._piece


@pytest.mark.parametrize(
    ("piece", "most"),
    [(bytes(MAX_BODY_BYTES // 4), 5), (b"x", MAX_PIECES + 1)],
    ids=["in large pieces", "byte by byte"],
)
async def test_only_the_beginning_of_an_answers_body_is_read(piece: bytes, most: int) -> None:
    body = _Counted(piece)
    async with asyncio.timeout(60):
        await _read_beginning(httpcore.Response(200, content=body))
    assert body.read == most
