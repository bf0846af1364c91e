"""A gRPC server that accepts the calls of its connections in turn (ADR 0018).

grpc.aio asks its core for one call at a time, and the core hands calls out first come, first served: behind
4,000 calls of an attacker, another user's call waits for 1.2 to 2 seconds of the event loop's time. Here:

1. Many calls are requested at a time, which costs some 10 µs a call. They wait in a queue, from which the
   server accepts one of each known caller in turn, and of each connection of strangers
   (`server.domain.arrivals`). Only then do a call's tasks begin, which cost 0.3 to 0.5 ms.
2. The event loop reads at once all that grpc wakes it with (`server.grpc.poller`): otherwise the calls that
   were requested arrive one by one.

Whose call it is, and which connections are closed, is decided by `server.grpc.peers`. All of this relies on
internals of grpcio, whose version is pinned; `tests/contract/interfaces/test_grpc_fairness.py` fails when
they change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, TypeAlias, cast

import grpc.aio
from grpc._cython import cygrpc
from grpc.aio._server import Server, _augment_channel_arguments

from server.domain.arrivals import Arrivals
from server.grpc.call_ends import CallLoop, DroppedCalls
from server.grpc.flood_gate import FloodGate
from server.grpc.hang_ups import HangUps
from server.grpc.peers import Peers
from server.grpc.sockets import Sockets

#: Calls that are requested of the core at a time. All may arrive in one turn of the loop: some 3 ms.
REQUESTED = 256
#: Calls of all known callers, of all strangers, and of one known caller that wait to be accepted, some 16 KB
#: each: those beyond are dropped, and end as cancelled. None is left to the core, which would refuse calls at
#: random.
MAX_QUEUED, MAX_QUEUED_OF_STRANGERS, MAX_QUEUED_OF_CALLER = 4_000, 2_000, 1_000
#: Calls of strangers that wait when there are many.
CROWDED = 500
#: Calls that wait in the core while the event loop does something else, as large each. It refuses everybody's
#: beyond that.
MAX_PENDING = 14_000
#: Looks at a connection's first call, of which it is given the metadata.
Look: TypeAlias = Callable[[str, Any], Coroutine[Any, Any, None]]


class _InTurn(cygrpc.AioServer):  # type: ignore[misc]  # the library has no types
    """grpc.aio's server, which accepts what `_make_request_call_future` gives, one call in two turns of the
    loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, peers: Peers, look: Look | None, *arguments: Any
    ) -> None:
        super().__init__(CallLoop(loop), *arguments)
        self._event_loop, self._peers, self._look = loop, peers, look
        self._looking: set[asyncio.Task[None]] = set()
        #: Calls and their connections.
        self._queue: Arrivals[tuple[str, object]] = Arrivals(
            max_strangers=MAX_QUEUED_OF_STRANGERS, max_of_caller=MAX_QUEUED_OF_CALLER, max_known=MAX_QUEUED
        )
        self._ports: set[int] = set()
        sockets = Sockets(self._ports)
        self._hang_ups, self._dropped = HangUps(sockets), DroppedCalls()
        self._gate = FloodGate(sockets, peers.is_known, peers.cut_off)
        peers.on_identified, peers.hang_up = self._identified, self._hang_up
        peers.on_new = self._gate.count
        peers.crowded = lambda: self._queue.strangers >= CROWDED
        self._next: asyncio.Future[object] = loop.create_future()
        self._requests: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None

    def add_insecure_port(self, address: bytes) -> int:
        """As grpc's."""
        return self._with(super().add_insecure_port(address))

    def add_secure_port(self, address: bytes, credentials: object) -> int:
        """As grpc's."""
        return self._with(super().add_secure_port(address, credentials))

    def _with(self, port: int) -> int:
        self._ports.add(port)
        return port

    def _identified(self, peer: str, group: Hashable) -> None:
        dropped = self._queue.identify(peer, group)
        self._dropped.add(call for _, call in dropped)
        for _ in dropped:
            self._peers.exceed(peer)

    def _hang_up(self, peer: str) -> None:
        self._dropped.add(call for _, call in self._queue.discard(peer))
        self._hang_ups.add(peer)

    def _make_request_call_future(self, _method: object) -> asyncio.Future[object]:
        """The call that is accepted next; grpc's own is a task, which costs more than all of this. Has what
        grpc raises when the server stops."""
        if not self._requests:
            self._requests = [self._event_loop.create_task(self._request_calls()) for _ in range(REQUESTED)]
            for each in self._requests:
                each.add_done_callback(self._end)
        self._next = self._event_loop.create_future()
        self._accept()
        return self._next

    def _accept(self) -> None:
        """Give the call whose turn it is to who waits for it, if there is one."""
        if self._next.done():
            return
        while self._queue:
            peer, call = self._queue.take()
            if not self._peers.is_closing(peer):
                self._peers.begin(peer)
                self._next.set_result(call)
                return
            self._dropped.add((call,))
        if self._failure is not None:
            self._next.set_exception(self._failure)

    async def _request_calls(self) -> None:
        while True:
            try:
                call = await self._request_call()
            except cygrpc._RequestCallError:
                if self.is_running():
                    continue
                raise
            # It has its message, of up to 4 MiB, for as long as anything refers to it.
            self._put(call)
            del call
            self._accept()

    def _put(self, call: object) -> None:
        context = cygrpc._ServicerContext(call, None, None, self._event_loop)
        peer = context.peer()
        if self._look is not None and self._peers.is_first(peer):
            looking = self._event_loop.create_task(self._look(peer, context.invocation_metadata()))
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)
        group = self._peers.arrive(peer)
        if group is None:
            self._dropped.add((call,))
        elif (dropped := self._queue.put(group, (peer, call))) is not None:
            self._dropped.add((dropped[1],))
            self._peers.exceed(dropped[0])

    async def _start_shutting_down(self) -> None:
        self._gate.stop()
        await super()._start_shutting_down()
        # The core ends the calls that wait, once nothing refers to them.
        self._queue.clear()

    def _end(self, request: asyncio.Task[None]) -> None:
        self._failure = asyncio.CancelledError() if request.cancelled() else request.exception()
        self._queue.clear()
        self._accept()


class _FairServer(Server):
    """grpc.aio's server, with `_InTurn` behind it."""

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        options: Sequence[tuple[str, int]],
        maximum_concurrent_rpcs: int | None,
        peers: Peers,
        look: Look | None,
    ) -> None:
        # Not grpc's own, which would make a server of the core that is never destroyed.
        self._loop = cygrpc.get_working_loop()
        arguments = _augment_channel_arguments(options, None)
        self._server = _InTurn(
            self._loop, peers, look, None, (), interceptors, arguments, maximum_concurrent_rpcs
        )

    def add_registered_method_handlers(self, service_name: str, method_handlers: object) -> None:
        """Do nothing: the core would keep a queue for each method, outside these turns. Generated code adds
        the same handlers by name."""


def fair_server(
    *,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    options: Sequence[tuple[str, int]] = (),
    maximum_concurrent_rpcs: int | None = None,
    peers: Peers | None = None,
    look: Look | None = None,
) -> grpc.aio.Server:
    """A server that accepts calls in turn. peers: the connections whose callers are known, by default none.
    look: looks at a connection's first call as soon as it arrives. The other arguments are as of
    `grpc.aio.server`."""
    server: Any = _FairServer(interceptors, options, maximum_concurrent_rpcs, peers or Peers(), look)
    return cast(grpc.aio.Server, server)
