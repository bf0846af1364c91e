"""What connections without a caller send while strangers flood the gRPC port, and when it is read."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import grpc
import pytest

from server.cli.event_loop import CommandLoop
from server.domain.model import Principal
from server.grpc.app import DEFAULT_LIMITS, server_options
from server.grpc.fair_server import fair_server
from server.grpc.flood_gate import (
    FLOOD,
    LITTLE_BYTES,
    MAX_UNREAD_BYTES,
    OF_MUCH,
    QUIET_S,
    FloodGate,
)
from server.grpc.peers import Peers
from server.grpc.sockets import Sockets, place_of
from tests.hostile.attacks.http2 import END_HEADERS, HEADERS, PREFACE, SETTINGS, fields, frame
from tests.support.hand_clock import PATIENCE_S, HandClock, turns, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is held")

MUCH, LITTLE = bytes(100 << 10), bytes(LITTLE_BYTES)


class Port:
    """A socket that listens behind a gate, and what is read of its connections as grpc reads: when the kernel
    says so. `read`: the connections, by the numbers of their clients, in the order of their first bytes."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.known: set[str] = set()
        self.clock = HandClock()
        self.closed = 0
        port = self.listening.getsockname()[1]
        self.gate = FloodGate(
            Sockets({port}), self.known.__contains__, self._count_closed, now=self.clock.monotonic
        )
        self.clients: list[socket.socket] = []
        self.read: list[int] = []
        self.bytes_of: dict[int, int] = {}

    def _count_closed(self) -> None:
        self.closed += 1

    async def flood(self) -> None:
        """More calls than strangers may make, until connections are held."""
        for _ in range(int(FLOOD.burst) + 1):
            self.gate.count()
        await until(lambda: wakes_at(self.listening) > 1)

    def connect(self, data: bytes, *, known: bool = False) -> int:
        """A connection that sends this. Returns its number."""
        client = self._stack.enter_context(socket.create_connection(self.listening.getsockname()))
        accepted, (host, port) = self.listening.accept()
        accepted.setblocking(False)
        number = len(self.clients)
        self.clients.append(client)
        self._stack.enter_context(accepted)
        self._stack.callback(asyncio.get_running_loop().remove_reader, accepted)
        if known:
            self.known.add(f"ipv4:{host}:{port}")
        asyncio.get_running_loop().add_reader(accepted, self._read, number, accepted)
        self.send(number, data)
        return number

    def send(self, number: int, data: bytes) -> None:
        """Send all at once."""
        self.clients[number].sendall(data)

    def _read(self, number: int, accepted: socket.socket) -> None:
        data = accepted.recv(1 << 20)
        if not data:
            asyncio.get_running_loop().remove_reader(accepted)
            return
        if number not in self.read:
            self.read.append(number)
        self.bytes_of[number] = self.bytes_of.get(number, 0) + len(data)

    async def searched(self, times: int = 3) -> None:
        """So many searches pass: a connection that sends little has its turn in one or two of them."""
        for _ in range(times):
            probe = self.connect(b"x", known=True)
            await until(lambda: probe in self.read)  # noqa: B023

    def is_ended(self, number: int) -> bool:
        """Whether the server has closed a connection."""
        return is_ended(self.clients[number])


def is_ended(client: socket.socket) -> bool:
    """Whether the server has closed a connection."""
    client.setblocking(False)
    try:
        while client.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return True


def wakes_at(connection: socket.socket) -> int:
    """The bytes from which on its reader is woken."""
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


def at_a_port(test: Callable[[Port], Awaitable[None]]) -> None:
    """Run a test on the event loop of the hub."""

    async def within_time() -> None:
        with ExitStack() as stack:
            port = Port(stack)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await test(port)
            finally:
                port.gate.stop()
                await until(lambda: not port.gate.is_shut)

    with asyncio.Runner(loop_factory=CommandLoop) as runner:
        runner.run(within_time())


def test_without_a_flood_whatever_comes_is_read_at_once() -> None:
    async def test(port: Port) -> None:
        for _ in range(int(FLOOD.burst)):
            port.gate.count()
        sent = [port.connect(MUCH) for _ in range(5)]
        await until(lambda: [port.bytes_of.get(each) for each in sent] == [len(MUCH)] * 5)
        assert not port.gate.is_shut

    at_a_port(test)


def test_in_a_flood_what_a_new_connection_sends_waits_until_its_turn() -> None:
    async def test(port: Port) -> None:
        await port.flood()
        first, second = port.connect(MUCH), port.connect(MUCH)
        await until(lambda: port.bytes_of.get(first) == len(MUCH))
        await port.searched()
        assert second not in port.read
        port.clock.move(len(MUCH) / OF_MUCH.per_s)
        await until(lambda: port.bytes_of.get(second) == len(MUCH))

    at_a_port(test)


def test_in_a_flood_a_connection_that_was_open_waits_too() -> None:
    async def test(port: Port) -> None:
        opened = [port.connect(b"") for _ in range(2)]
        await port.flood()
        await port.searched()
        for each in opened:
            port.send(each, MUCH)
        await until(lambda: port.read[-1] in opened)
        await port.searched()
        assert len(port.read) - len(port.known) == 1

    at_a_port(test)


def test_in_a_flood_a_known_callers_connection_is_read_at_once() -> None:
    async def test(port: Port) -> None:
        opened = port.connect(b"", known=True)
        await port.flood()
        port.send(opened, MUCH * 5)
        new = port.connect(MUCH * 5, known=True)
        await until(lambda: [port.bytes_of.get(each) for each in (opened, new)] == [5 * len(MUCH)] * 2)

    at_a_port(test)


def test_a_connection_whose_caller_becomes_known_is_read_from_then_on() -> None:
    async def test(port: Port) -> None:
        await port.flood()
        port.connect(MUCH)
        waits = port.connect(MUCH)
        await port.searched()
        assert waits not in port.read
        host, number, *_ = port.clients[waits].getsockname()
        port.known.add(f"ipv4:{host}:{number}")
        await until(lambda: port.bytes_of.get(waits) == len(MUCH))
        port.send(waits, MUCH * 5)
        await until(lambda: port.bytes_of.get(waits) == 6 * len(MUCH))

    at_a_port(test)


def test_who_sends_little_does_not_wait_for_those_that_send_much() -> None:
    async def test(port: Port) -> None:
        await port.flood()
        much = [port.connect(MUCH) for _ in range(2)]
        little = port.connect(LITTLE)
        await until(lambda: {much[0], little} <= set(port.read))
        await port.searched()
        assert much[1] not in port.read

    at_a_port(test)


def test_what_comes_after_a_turn_waits_for_the_next() -> None:
    async def test(port: Port) -> None:
        await port.flood()
        port.connect(MUCH)
        each = port.connect(LITTLE)
        await until(lambda: port.bytes_of.get(each) == len(LITTLE))
        await port.searched()
        port.send(each, MUCH)
        await port.searched()
        assert port.bytes_of[each] == len(LITTLE)

    at_a_port(test)


def test_beyond_what_may_wait_those_that_came_last_are_closed_unread() -> None:
    async def test(port: Port) -> None:
        kept = MAX_UNREAD_BYTES // len(MUCH)
        await port.flood()
        sent = [port.connect(MUCH) for _ in range(1 + kept + 20)]
        # The first has its turn.
        await until(lambda: port.closed == 20)
        await until(lambda: all(port.is_ended(each) for each in sent[-20:]))
        assert not any(port.is_ended(each) for each in sent[:-20])
        assert set(port.bytes_of).isdisjoint(sent[1:])
        for _ in range(kept):
            port.clock.move(len(MUCH) / OF_MUCH.per_s)
            await port.searched()
        await until(lambda: {each for each in port.bytes_of if each in sent} == set(sent[:-20]))

    at_a_port(test)


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_what_is_held_of_a_client_that_leaves_is_never_read(resets: bool, before: bool) -> None:
    async def test(port: Port) -> None:
        opened = [port.connect(b"") for _ in range(2)] if before else []
        await port.flood()
        await port.searched()
        first, leaves = opened or [port.connect(b""), port.connect(b"")]
        port.send(first, MUCH)
        await until(lambda: port.bytes_of.get(first) == len(MUCH))
        port.send(leaves, MUCH)
        await port.searched()
        client = port.clients[leaves]
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", resets, 0))
        client.close()
        await until(lambda: port.closed == 1)
        await port.searched()
        port.clock.move(len(MUCH) / OF_MUCH.per_s)
        await port.searched()
        assert leaves not in port.bytes_of
        assert port.closed == 1

    at_a_port(test)


def test_after_a_flood_all_is_read_also_what_was_not_accepted() -> None:
    async def test(port: Port) -> None:
        await port.flood()
        port.connect(MUCH)
        waits = port.connect(MUCH)
        await port.searched()
        late = socket.create_connection(port.listening.getsockname())
        with late:
            # What waits for its turn is part of the flood.
            port.clock.move(len(MUCH) / OF_MUCH.per_s)
            await until(lambda: waits in port.read)
            port.clock.move(QUIET_S)
            await until(lambda: wakes_at(port.listening) == 1)
            await turns(20)
            assert port.gate.is_shut
            accepted, _ = port.listening.accept()
            with accepted:
                await until(lambda: not port.gate.is_shut)
                assert wakes_at(accepted) == 1
        assert port.bytes_of[waits] == len(MUCH)

    at_a_port(test)


def test_holding_connections_takes_no_file_descriptors() -> None:
    async def test(port: Port) -> None:
        before = len(os.listdir("/dev/fd"))
        await port.flood()
        port.clock.move(QUIET_S + FLOOD.burst / FLOOD.per_s)
        await until(lambda: not port.gate.is_shut)
        assert len(os.listdir("/dev/fd")) == before

    at_a_port(test)


def test_without_file_descriptors_what_is_held_is_read_once_there_are_some() -> None:
    # In a process of its own: nothing else there closes a file descriptor meanwhile.
    program = "tests.contract.interfaces.gate_without_descriptors"
    subprocess.run([sys.executable, "-m", program], check=True, timeout=2 * PATIENCE_S)


# --- With grpc ------------------------------------------------------------------------------------

CONNECTIONS, CALLS = 200, 200


class _Arrivals(Peers):
    """Counts the calls that arrive."""

    arrived = 0

    def arrive(self, name: str) -> Any:
        self.arrived += 1
        return super().arrive(name)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_most_calls_of_a_flood_on_new_connections_never_reach_the_loop_and_a_callers_do(host: str) -> None:
    ann = Principal(uuid4(), "ann", None, None)
    calls = [frame(HEADERS, END_HEADERS, 2 * number + 1, fields("/s.S/M")) for number in range(CALLS)]

    async def test() -> None:
        begun: set[str] = set()

        async def handle(_: object, context: Any) -> bytes:
            begun.add(context.peer())
            return b""

        peers = _Arrivals()
        options = server_options(DEFAULT_LIMITS, reuse_port=False)
        server = fair_server(options=options, peers=peers)
        handler: Any = grpc.stream_unary_rpc_method_handler(handle)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s.S", {"M": handler}),))
        port = server.add_insecure_port(f"[{host}]:0" if ":" in host else f"{host}:0")
        await server.start()
        with ExitStack() as stack:

            def connect() -> socket.socket:
                made = stack.enter_context(socket.create_connection((host, port)))
                made.sendall(PREFACE + frame(SETTINGS))
                return made

            def peer_of(made: socket.socket) -> str:
                own, number, *_ = made.getsockname()
                return f"ipv6:%5B{own}%5D:{number}" if ":" in own else f"ipv4:{own}:{number}"

            known = connect()
            peers.identify(peer_of(known), ann)
            connect().sendall(b"".join(calls))
            await until(lambda: peers.arrived > FLOOD.burst)
            # The gate shuts in the next turn of the loop, which the connections would not let come.
            await turns()
            before = peers.arrived
            flood = [connect() for _ in range(CONNECTIONS)]
            for each in flood:
                each.sendall(b"".join(calls))
            known.sendall(calls[0])
            await until(lambda: peer_of(known) in begun)
            new = connect()
            new.sendall(calls[0])
            await until(lambda: peer_of(new) in begun)
            await until(lambda: sum(map(is_ended, flood)) > CONNECTIONS / 2)
            # What has its turn, or was read before it was held.
            assert peers.arrived - before < CONNECTIONS * CALLS / 2
            assert place_of(peer_of(new)) == new.getsockname()[:2]
        await server.stop(None)

    with asyncio.Runner(loop_factory=CommandLoop) as runner:
        runner.run(test())
