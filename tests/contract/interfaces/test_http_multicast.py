"""The same bytes to many WebSockets: on both event loops, and with clients that do everything but read."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop
from websockets.frames import Frame, Opcode

from server.domain.rates import Rate
from server.http.connection import ClientGone, Connection, connection_of
from server.http.listener import listening_socket
from server.http.multicast import Multicast, SendToAll, send_to_all
from server.http.server import uvicorn_config
from server.http.websocket_frames import frame_header
from server.http.websocket_protocol import HubConfig, HubSocketProtocol
from tests.support.hand_clock import PATIENCE_S, until
from tests.support.http_interface import upgrade_request
from tests.support.servers import uvicorn_server

#: Bytes of a message: a few hundred fill what the kernel holds for a client that does not read.
MESSAGE_BYTES = 4_000


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def on_loop(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], Any]:
    """Runs on an event loop of its own, of either kind."""

    async def run(coroutine: Coroutine[Any, Any, None]) -> None:
        def in_thread() -> None:
            with asyncio.Runner(loop_factory=request.param) as runner:
                runner.run(asyncio.wait_for(coroutine, PATIENCE_S))

        await asyncio.to_thread(in_thread)

    return run


@pytest.fixture(params=["python", "compiled"])
def send(request: pytest.FixtureRequest) -> SendToAll:
    """Either form of what sends."""
    if request.param == "python":
        return send_to_all
    return pytest.importorskip("ide_orchestrator_compiled").send_to_all


class Served:
    """A server whose WebSockets get what the test multicasts."""

    def __init__(self) -> None:
        self.address = ("", 0)
        #: The protocols of the open connections, by the path that the client asked for.
        self.protocols: dict[str, HubSocketProtocol] = {}
        #: The clients' sockets.
        self.sockets: list[socket.socket] = []

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Open a WebSocket, and keep it open."""
        connection = connection_of(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "ideo.v1"})
        name = scope["path"].rpartition("/")[2]
        connection.after_opening = lambda _: self._follow(name, connection)

    async def _follow(self, name: str, connection: Connection) -> None:
        (self.protocols[name],) = [each for each in PROTOCOLS if each.stream is connection]
        with suppress(ClientGone), connection.streaming():
            await asyncio.Event().wait()
        del self.protocols[name]

    async def client(self, name: str) -> socket.socket:
        """A client's socket with a small buffer, once its WebSocket is open."""
        raw = socket.socket()
        self.sockets.append(raw)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, self.address)
        await loop.sock_sendall(raw, upgrade_request("", name, "ideo.v1"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await loop.sock_recv(raw, 1)
        await until(lambda: name in self.protocols)
        return raw

    def stream(self, name: str) -> Connection:
        """The connection of a client."""
        return self.protocols[name].stream


#: The protocols that live.
PROTOCOLS: set[HubSocketProtocol] = set()


class Watched(HubSocketProtocol):
    """The hub's protocol. closed: called when a socket is about to be closed."""

    closed: Callable[[HubSocketProtocol], None] = staticmethod(lambda _: None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        PROTOCOLS.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        PROTOCOLS.discard(self)
        Watched.closed(self)


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    served = Served()
    config = uvicorn_config(served.app, drain_s=1, ping_s=10 * PATIENCE_S)  # type: ignore[arg-type]
    assert isinstance(config, HubConfig)
    config.ws = Watched
    config.bytes_rate = config.frames_rate = Rate(64 << 20, 64 << 20)
    listener = listening_socket("127.0.0.1", 0)
    served.address = listener.getsockname()
    async with uvicorn_server(config, listener):
        try:
            yield served
        finally:
            for raw in served.sockets:
                raw.close()


def message(group: str, number: int) -> bytes:
    """A message of a group, framed."""
    content = f"{group} {number} ".encode().ljust(MESSAGE_BYTES, b".")
    return frame_header(0x82, len(content)) + content


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The whole frames in what a server sent: opcodes and contents."""
    at = 0
    while len(data) - at >= 2:
        size, start = data[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
        if len(data) < start + size:
            return
        yield data[at] & 15, data[start : start + size]
        at = start + size


def numbers(data: bytes, group: str) -> list[int]:
    """The numbers of the messages in what a client received; all are of its group, or pings and a close."""
    found = []
    for opcode, content in frames(data):
        if opcode == Opcode.BINARY:
            name, number, _ = content.split(b" ", 2)
            assert name.decode() == group
            found.append(int(number))
        else:
            assert opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE)
    return found


def received_now(raw: socket.socket) -> bytes:
    """What has arrived for a client, without a turn of the event loop."""
    data = b""
    with suppress(BlockingIOError):
        while piece := raw.recv(1 << 20):
            data += piece
    return data


async def received(raw: socket.socket, end: bytes = b"") -> bytes:
    """What arrives for a client, up to the end of the connection, or to bytes."""
    data, loop = b"", asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE_S):
        while not (end and data.endswith(end)):
            piece = await loop.sock_recv(raw, 1 << 20)
            if not piece:
                break
            data += piece
    return data


class Readers:
    """The readers of a group, as a live end keeps them: one that is late is written to alone, and rejoins."""

    def __init__(self, send: SendToAll) -> None:
        self.group = Multicast(send)
        self.joined: dict[Connection, None] = {}

    def join(self, connection: Connection) -> None:
        self.joined[connection] = None
        self.group.add(connection)

    def send(self, data: bytes) -> None:
        for late in self.group.write(data):
            assert isinstance(late, Connection)
            try:
                late.write(data)
            except ClientGone:
                del self.joined[late]
            else:
                self.group.add(late)


async def test_each_reader_gets_its_groups_messages_once_and_in_order_whatever_others_do(
    on_loop: Any,
    send: SendToAll,
) -> None:
    async def run() -> None:
        async with serving() as served:
            groups = {name: Readers(send) for name in "AB"}
            data: dict[str, bytes] = {}
            reading: dict[str, asyncio.Task[bytes]] = {}
            clients: dict[str, socket.socket] = {}
            numbers_of: dict[int, set[str]] = {}

            async def come(name: str) -> None:
                clients[name] = await served.client(name)
                groups[name[0]].join(served.stream(name))
                numbers_of.setdefault(served.stream(name).descriptor, set()).add(name)
                if "slow" not in name:
                    reading[name] = asyncio.create_task(received(clients[name]))

            for number in range(5):
                for group in groups:
                    await come(f"{group}-stays-{number}")
                    await come(f"{group}-slow-{number}")
            for number in range(1, 201):
                for group, readers in groups.items():
                    if number % 10 == 0:
                        # One that comes gets the number of the socket that was closed.
                        await come(f"{group}-goes-{number}")
                    readers.send(message(group, number))
                    slow = clients[f"{group}-slow-{number % 5}"]
                    if number % 3 == 0:
                        data[f"{group}-slow-{number % 5}"] = data.get(
                            f"{group}-slow-{number % 5}", b""
                        ) + slow.recv(5_000)
                if number % 7 == 0:
                    for protocol in served.protocols.values():
                        protocol.send_keepalive_ping()
                if number % 10 == 5 and number > 10:
                    for group in groups:
                        name = f"{group}-goes-{number - 5}"
                        clients.pop(name).shutdown(socket.SHUT_WR)
                        await until(lambda name=name: name not in served.protocols)
                await asyncio.sleep(0)
            assert any(len(names) > 1 for names in numbers_of.values())
            for name, raw in clients.items():
                if "slow" in name:
                    reading[name] = asyncio.create_task(received(raw))
            for protocol in list(served.protocols.values()):
                protocol.conn.send_close(1000)
                protocol.stream.write(b"".join(protocol.conn.data_to_send()))
                protocol.transport.close()
            for name, task in reading.items():
                found = numbers(data.get(name, b"") + await task, name[0])
                first = int(name.rpartition("-")[2]) if "goes" in name else 1
                assert found == list(range(first, first + len(found))), name
                assert len(found) == 200 if "goes" not in name else found

    await on_loop(run())


#: A client's close, and what no frame begins with.
CLOSE, BROKEN = Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True), b"\xff" * 8


def client_closes(served: Served, raw: socket.socket) -> None:
    raw.sendall(CLOSE)


def client_stops_sending(served: Served, raw: socket.socket) -> None:
    raw.shutdown(socket.SHUT_WR)


def client_resets(served: Served, raw: socket.socket) -> None:
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    raw.close()


def client_breaks_the_protocol(served: Served, raw: socket.socket) -> None:
    raw.sendall(BROKEN)


def hub_aborts(served: Served, raw: socket.socket) -> None:
    served.stream("one").abort()


def hub_stops(served: Served, raw: socket.socket) -> None:
    served.protocols["one"].shutdown()
    served.protocols["one"].transport.close()


ENDS = [
    client_closes,
    client_stops_sending,
    client_resets,
    client_breaks_the_protocol,
    hub_aborts,
    hub_stops,
]


@pytest.mark.parametrize("end", ENDS)
async def test_a_descriptor_is_forgotten_before_its_socket_is_closed(
    on_loop: Any, send: SendToAll, end: Any
) -> None:
    async def run() -> None:
        async with serving() as served:
            raw = await served.client("one")
            group, stream = Multicast(send), served.stream("one")
            group.add(stream)
            inode = os.fstat(stream.descriptor).st_ino
            known: list[bool] = []

            def closed(protocol: HubSocketProtocol) -> None:
                # The socket is still open under its number.
                assert os.fstat(stream.descriptor).st_ino == inode
                known.append(protocol.stream in group._ready.values())

            Watched.closed = staticmethod(closed)
            try:
                end(served, raw)
                await until(lambda: bool(known))
            finally:
                Watched.closed = staticmethod(lambda _: None)
            assert known == [False]
            # It cannot take anything, and is none of the group any more.
            assert group.write(b"x") == [stream]
            assert group.write(b"x") == []

    await on_loop(run())


@pytest.mark.parametrize("last", [CLOSE, BROKEN], ids=["close", "broken"])
async def test_nothing_follows_a_close(on_loop: Any, send: SendToAll, last: bytes) -> None:
    async def run() -> None:
        async with serving() as served:
            raw = await served.client("one")
            group, protocol = Multicast(send), served.protocols["one"]
            group.add(protocol.stream)
            group.write(message("A", 1))
            # The close is sent at once, and the socket closed later.
            protocol.data_received(last)
            group.write(message("A", 2))
            opcodes = [opcode for opcode, _ in frames(await received(raw))]
            assert opcodes == [Opcode.BINARY, Opcode.CLOSE]

    await on_loop(run())


async def test_nothing_overtakes_bytes_that_wait(on_loop: Any, send: SendToAll) -> None:
    async def run() -> None:
        async with serving() as served:
            raw = await served.client("one")
            group, protocol = Multicast(send), served.protocols["one"]
            group.add(protocol.stream)
            sent = b""
            # Until the kernel holds all that it can, and nothing waits in the transport.
            with suppress(BlockingIOError):
                while True:
                    sent += b"." * os.write(protocol.stream.descriptor, b"." * 65_536)
            protocol.send_keepalive_ping()
            assert protocol.stream.waiting_bytes
            # The kernel has room again, and the event loop does not know yet.
            arrived = received_now(raw)
            assert group.write(b"next") == [protocol.stream]
            protocol.stream.write(b"next")
            arrived += await received(raw, b"next")
            ping = Frame(Opcode.PING, protocol.pending_ping_payload).serialize(mask=False)
            assert arrived == sent + ping + b"next"

    await on_loop(run())


async def test_what_a_socket_does_not_take_is_sent_first_by_its_transport(
    on_loop: Any, send: SendToAll
) -> None:
    async def run() -> None:
        async with serving() as served:
            raw = await served.client("one")
            readers, stream = Readers(send), served.stream("one")
            readers.join(stream)
            count = 0
            while not stream.waiting_bytes:
                count += 1
                readers.send(message("A", count))
            # The kernel has room again, and the event loop does not know yet.
            data = received_now(raw)
            for number in range(count + 1, count + 6):
                readers.send(message("A", number))
            data += await received(raw, message("A", count + 5))
            assert numbers(data, "A") == list(range(1, count + 6))

    await on_loop(run())


async def test_bytes_of_a_multicast_count_as_acknowledged_like_others(on_loop: Any, send: SendToAll) -> None:
    async def run() -> None:
        async with serving() as served:
            raw = await served.client("one")
            group, stream = Multicast(send), served.stream("one")
            stream.write(b"1234")
            group.write(b"before")
            group.add(stream)
            group.write(b"56789")
            await until(lambda: stream.acknowledged_bytes == 9)
            stream.write(b"0")
            group.remove(stream)
            group.write(b"after")
            await until(lambda: stream.acknowledged_bytes == 10)
            assert received_now(raw) == b"1234567890"

    await on_loop(run())
