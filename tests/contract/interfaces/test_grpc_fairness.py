"""How many calls of other connections a gRPC call waits for, when they begin, and when they end."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import grpc
import pytest

from server.cli.event_loop import CommandLoop
from server.domain.endings import ENDS_PER_TURN
from server.domain.model import Principal
from server.grpc.app import DEFAULT_LIMITS, server_options
from server.grpc.call_ends import waiting
from server.grpc.fair_server import (
    MAX_QUEUED,
    MAX_QUEUED_OF_CALLER,
    MAX_QUEUED_OF_STRANGERS,
    REQUESTED,
    Look,
    fair_server,
)
from server.grpc.peers import Peers
from tests.hostile.attacks.http2 import (
    ACK,
    END_HEADERS,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    connection,
    fields,
    frame,
)
from tests.support.hand_clock import PATIENCE_S

CONNECTIONS, CALLS = 3, 500
#: How often an order is looked at.
TRIES = 4
#: Connections of strangers.
STRANGERS = 100


def make_calls(port: int, stack: ExitStack, count: int, token: str = "") -> int:
    """Make calls on a connection, and wait until the server has taken note of them. Returns its own port."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    hello = PREFACE + frame(SETTINGS) + frame(SETTINGS, ACK)
    calls = [frame(HEADERS, END_HEADERS, 2 * number + 1, fields("/s.S/M", token)) for number in range(count)]
    connection.sendall(hello + b"".join(calls) + frame(PING, 0, 0, b"received"))
    stream = connection.makefile("rb")
    while True:
        length, kind, flags = struct.unpack("!3sBB4x", stream.read(9))
        stream.read(int.from_bytes(length))
        if kind == PING and flags & ACK:
            return int(connection.getsockname()[1])


class Server:
    """A server of one method. `begun`: the connections of its calls, in the order in which they begin; then
    they go on as `handle` does. `ended`: in which turn of the event loop their handlers ended."""

    def __init__(
        self,
        handle: Callable[[str], Awaitable[None]] | None = None,
        *,
        look: Look | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._handle_call = handle
        self.ended: Counter[int] = Counter()
        self.turn = 0
        self.begun: list[str] = []
        self._changed = asyncio.Event()
        self.peers = Peers()
        options = server_options(DEFAULT_LIMITS, reuse_port=False)
        self.server = fair_server(options=options, peers=self.peers, look=look)
        handler: Any = grpc.stream_unary_rpc_method_handler(self._handle)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s.S", {"M": handler}),))
        self.port = self.server.add_insecure_port(f"{host}:0")

    async def _handle(self, _: object, context: Any) -> bytes:
        self.begun.append(context.peer())
        self._changed.set()
        try:
            if self._handle_call is not None:
                await self._handle_call(context.peer())
        finally:
            self.ended[self.turn] += 1
            self._changed.set()
        return b""

    async def meet(self, peer: str) -> None:
        """Find no caller."""
        self.peers.meet(peer)

    def count_turns(self) -> None:
        """Count the turns of the event loop from now on."""
        self.turn += 1
        asyncio.get_running_loop().call_soon(self.count_turns)

    async def have_begun(self, count: int) -> None:
        """Wait for so many calls."""
        await self._until(lambda: len(self.begun) >= count)

    async def have_ended(self, count: int) -> None:
        """Wait for the ends of so many handlers."""
        await self._until(lambda: self.ended.total() >= count)

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test on the event loop of the hub."""

    async def within_time() -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            await test()

    with asyncio.Runner(loop_factory=CommandLoop) as runner:
        runner.run(within_time())


def holds_once(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test of an order, again if it fails: on a busy machine, grpc's threads may hand the calls over
    while others begin. Where the order is wrong, it fails each time."""
    for _ in range(TRIES - 1):
        try:
            run(test)
        except AssertionError:
            continue
        return
    run(test)


def test_a_call_does_not_wait_for_all_that_other_connections_have_sent() -> None:
    assert CONNECTIONS * CALLS > 4 * REQUESTED

    async def test() -> None:
        served = Server()
        await served.server.start()
        # The loop stands still while the calls arrive.
        with ExitStack() as stack:
            for _ in range(CONNECTIONS):
                make_calls(served.port, stack, CALLS)
            own = make_calls(served.port, stack, 1)
            await served.have_begun(CONNECTIONS * CALLS + 1)
        await served.server.stop(None)
        place = next(place for place, peer in enumerate(served.begun) if peer.endswith(f":{own}"))
        # How many depends on when grpc's threads hand them over.
        assert place < CONNECTIONS * CALLS / 3, f"{place} of {len(served.begun)} calls began before"

    holds_once(test)


def test_a_known_callers_call_does_not_wait_for_all_connections_of_strangers() -> None:
    async def test() -> None:
        served = Server()
        await served.server.start()
        with ExitStack() as stack:
            for _ in range(STRANGERS):
                make_calls(served.port, stack, 10)
            own = make_calls(served.port, stack, 1)
            served.peers.identify(f"ipv4:127.0.0.1:{own}", Principal(uuid4(), "ann", None, None))
            await served.have_begun(STRANGERS * 10 + 1)
        await served.server.stop(None)
        place = next(place for place, peer in enumerate(served.begun) if peer.endswith(f":{own}"))
        # As above.
        assert place < STRANGERS * 10 / 4, f"{place} of {len(served.begun)} calls began before"

    holds_once(test)


def test_strangers_calls_beyond_their_bound_end_and_others_do_not() -> None:
    async def test() -> None:
        served = Server()
        await served.server.start()
        with ExitStack() as stack:
            for _ in range(4):
                make_calls(served.port, stack, 1000)
            own = make_calls(served.port, stack, 1)
            served.peers.identify(f"ipv4:127.0.0.1:{own}", Principal(uuid4(), "ann", None, None))
            await served.have_begun(MAX_QUEUED_OF_STRANGERS)
        await served.server.stop(None)
        assert any(peer.endswith(f":{own}") for peer in served.begun)
        assert len(served.begun) < 3000

    run(test)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_without_a_caller_that_makes_too_many_calls_is_closed_and_no_other(host: str) -> None:
    async def test() -> None:
        served = Server(lambda peer: served.meet(peer), host=f"[{host}]" if ":" in host else host)
        served.peers.crowded = lambda: True
        await served.server.start()
        async with connection(f"{host}:{served.port}") as few, connection(f"{host}:{served.port}") as many:
            few.call("/s.S/M", ends=True)
            for _ in range(200):
                many.call("/s.S/M", ends=True)
            await many.closed()
            few.call("/s.S/M", ends=True)
            async with asyncio.timeout(PATIENCE_S):
                while few.active:
                    await asyncio.sleep(0)
            assert few.closed_s is None
        await served.server.stop(None)

    run(test)


def test_a_connection_whose_first_call_has_a_caller_waits_with_callers() -> None:
    async def test() -> None:
        async def look(peer: str, metadata: Any) -> None:
            if ("authorization", "Bearer good") in tuple(metadata):
                served.peers.identify(peer, Principal(uuid4(), "ann", None, None))

        served = Server(look=look)
        await served.server.start()
        with ExitStack() as stack:
            for _ in range(STRANGERS):
                make_calls(served.port, stack, 10)
            own = make_calls(served.port, stack, 1, token="good")
            # The newest stranger would have the next turn.
            for _ in range(STRANGERS):
                make_calls(served.port, stack, 1)
            await served.have_begun(STRANGERS * 11 + 1)
        await served.server.stop(None)
        place = next(place for place, peer in enumerate(served.begun) if peer.endswith(f":{own}"))
        assert place < 180, f"{place} of {len(served.begun)} calls began before"

    holds_once(test)


def test_of_calls_that_turn_out_to_be_one_callers_no_more_wait_than_the_caller_may_have() -> None:
    ann = Principal(uuid4(), "ann", None, None)

    async def test() -> None:
        async def look(peer: str, _: Any) -> None:
            # By then the calls of all connections wait, as strangers'.
            await turns(20)
            served.peers.identify(peer, ann)

        served = Server(look=look)
        await served.server.start()
        with ExitStack() as stack:
            for _ in range(4):
                make_calls(served.port, stack, MAX_QUEUED_OF_CALLER // 2)
            await served.have_begun(MAX_QUEUED_OF_CALLER)
            # In which as many more would begin.
            await turns(4 * MAX_QUEUED_OF_CALLER)
        await served.server.stop(None)
        assert len(served.begun) < 1.3 * MAX_QUEUED_OF_CALLER

    holds_once(test)


def test_calls_of_a_connection_that_is_being_closed_do_not_begin() -> None:
    ann = Principal(uuid4(), "ann", None, None)

    async def test() -> None:
        async def look(peer: str, _: Any) -> None:
            served.peers.identify(peer, ann)

        # Its socket is not found, so that its calls do not end by themselves.
        served = Server(look=look)
        served.peers.hang_up = closed.append
        await served.server.start()
        with ExitStack() as stack:
            make_calls(served.port, stack, CALLS)
            await served.have_begun(1)
            while not closed:
                served.peers.exceed(served.begun[0])
            begun = len(served.begun)
            await turns(4 * CALLS)
        await served.server.stop(None)
        # Those that were accepted already begin.
        assert len(served.begun) < begun + 5

    closed: list[str] = []
    run(test)


async def turns(count: int) -> None:
    """So many turns of the event loop pass."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_server_that_stops_ends_the_calls_that_it_has_not_accepted() -> None:
    async def test() -> None:
        served = Server()
        await served.server.start()
        with ExitStack() as stack:
            for _ in range(MAX_QUEUED // 1000 + 1):
                make_calls(served.port, stack, 1000)
            await served.have_begun(REQUESTED)
            await served.server.stop(None)
        assert len(served.begun) < MAX_QUEUED

    run(test)


def test_calls_that_wait_when_their_client_leaves_end_in_turns() -> None:
    async def wait(_: str) -> None:
        with waiting():
            await asyncio.Event().wait()

    async def test() -> None:
        served = Server(wait)
        await served.server.start()
        with ExitStack() as stack:
            make_calls(served.port, stack, CALLS)
            await served.have_begun(CALLS)
        served.count_turns()
        await served.have_ended(CALLS)
        await served.server.stop(None)
        # The turns are counted in the middle of one.
        assert max(served.ended.values()) <= 2 * ENDS_PER_TURN, served.ended

    run(test)
