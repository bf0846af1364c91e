"""A gRPC server that accepts the calls of its connections in turn (ADR 0018).

grpc.aio asks its core for one call at a time, and the core hands calls out first come, first served: behind
4,000 calls of an attacker, another user's call waits for 1.2 to 2 seconds of the event loop's time. Here:

1. Many calls are requested at a time, which costs some 10 µs a call. They wait in a queue, from which the
   server accepts one of each known caller in turn, and of each connection of strangers
   (`server.domain.arrivals`). Only then do a call's tasks begin, which cost 0.3 to 0.5 ms.
2. The event loop reads at once all that grpc wakes it with (`server.grpc.poller`): otherwise the calls that
   were requested arrive one by one.

A connection has the turns of the caller who was last identified on it: a proxy's users share them. Both rely
on internals of grpcio, whose version is pinned; `tests/contract/interfaces/test_grpc_fairness.py` fails when
they change.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, cast

import grpc.aio
from grpc._cython import cygrpc
from grpc.aio._server import Server, _augment_channel_arguments

from server.domain.arrivals import Arrivals, Stranger
from server.domain.model import Principal
from server.grpc.call_ends import CallLoop

#: Calls that are requested of the core at a time. All may arrive in one turn of the loop: some 3 ms.
REQUESTED = 256
#: Calls that wait to be accepted, some 16 KB each. Further ones stay in the core, which refuses what exceeds
#: `MAX_PENDING`, and all that exceeds twice as many.
MAX_QUEUED = MAX_PENDING = 4_000
#: Of these, calls of all strangers, and of one known caller: those beyond are dropped, and end as cancelled.
#: Otherwise one client that calls faster than it is served would have the core refuse everybody's calls.
MAX_QUEUED_OF_STRANGERS, MAX_QUEUED_OF_CALLER = 2_000, 1_000


class KnownPeers:
    """The connections on which a caller was identified. max_peers: so many are remembered."""

    def __init__(self, max_peers: int = 20_000) -> None:
        self._max_peers = max_peers
        self._groups: OrderedDict[str, Hashable] = OrderedDict()
        #: Called with a connection and its group when it was a stranger's before.
        self.on_identified: Callable[[str, Hashable], None] = lambda peer, group: None

    def add(self, peer: str, caller: Principal) -> None:
        """A caller was identified on a connection."""
        is_new, group = peer not in self._groups, caller.memory_id
        self._groups[peer] = group
        if is_new:
            self.on_identified(peer, group)
            if len(self._groups) > self._max_peers:
                self._groups.popitem(last=False)
        else:
            self._groups.move_to_end(peer)

    def group_of(self, peer: str) -> Hashable:
        """The group of a connection's calls."""
        return self._groups.get(peer) or Stranger(peer)


class _InTurn(cygrpc.AioServer):  # type: ignore[misc]  # the library has no types
    """grpc.aio's server, which accepts what `_make_request_call_future` gives, one call in two turns of the
    loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, peers: KnownPeers, *arguments: Any) -> None:
        super().__init__(CallLoop(loop), *arguments)
        self._event_loop, self._peers = loop, peers
        self._queue: Arrivals[object] = Arrivals(
            max_strangers=MAX_QUEUED_OF_STRANGERS, max_of_caller=MAX_QUEUED_OF_CALLER
        )
        peers.on_identified = self._queue.identify
        self._next: asyncio.Future[object] = loop.create_future()
        #: Requests that are not made again until a call is taken.
        self._paused: deque[asyncio.Future[None]] = deque()
        self._requests: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None

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
        if self._queue:
            self._next.set_result(self._queue.take())
            self._resume(1)
        elif self._failure is not None:
            self._next.set_exception(self._failure)

    async def _request_calls(self) -> None:
        while True:
            try:
                call = await self._request_call()
            except cygrpc._RequestCallError:
                if self.is_running():
                    continue
                raise
            peer = cygrpc._ServicerContext(call, None, None, self._event_loop).peer()
            self._queue.put(self._peers.group_of(peer), call)
            # It has its message, of up to 4 MiB, for as long as anything refers to it.
            del call
            self._accept()
            if len(self._queue) >= MAX_QUEUED:
                paused: asyncio.Future[None] = self._event_loop.create_future()
                self._paused.append(paused)
                await paused

    async def _start_shutting_down(self) -> None:
        await super()._start_shutting_down()
        # While the queues are full no request may be under way, which would fail and end the others.
        self._drop_calls()

    def _end(self, request: asyncio.Task[None]) -> None:
        self._failure = asyncio.CancelledError() if request.cancelled() else request.exception()
        self._drop_calls()
        self._accept()

    def _drop_calls(self) -> None:
        """Accept no call any more. The core ends those that wait, once nothing refers to them."""
        self._queue.clear()
        self._resume(len(self._paused))

    def _resume(self, count: int) -> None:
        for _ in range(min(count, len(self._paused))):
            paused = self._paused.popleft()
            if not paused.done():
                paused.set_result(None)


class _FairServer(Server):
    """grpc.aio's server, with `_InTurn` behind it."""

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        options: Sequence[tuple[str, int]],
        maximum_concurrent_rpcs: int | None,
        peers: KnownPeers,
    ) -> None:
        # Not grpc's own, which would make a server of the core that is never destroyed.
        self._loop = cygrpc.get_working_loop()
        arguments = _augment_channel_arguments(options, None)
        self._server = _InTurn(self._loop, peers, None, (), interceptors, arguments, maximum_concurrent_rpcs)

    def add_registered_method_handlers(self, service_name: str, method_handlers: object) -> None:
        """Do nothing: the core would keep a queue for each method, outside these turns. Generated code adds
        the same handlers by name."""


def fair_server(
    *,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    options: Sequence[tuple[str, int]] = (),
    maximum_concurrent_rpcs: int | None = None,
    peers: KnownPeers | None = None,
) -> grpc.aio.Server:
    """A server that accepts calls in turn. peers: the connections whose callers are known, by default none.
    The other arguments are as of `grpc.aio.server`."""
    server: Any = _FairServer(interceptors, options, maximum_concurrent_rpcs, peers or KnownPeers())
    return cast(grpc.aio.Server, server)
