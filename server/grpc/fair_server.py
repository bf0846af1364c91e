"""A gRPC server that accepts the calls of its connections in turn (ADR 0018).

grpc.aio asks its core for one call at a time, and the core hands calls out first come, first served: behind
4,000 calls of an attacker, another user's call waits for 1.2 to 2 seconds of the event loop's time. Here:

1. Many calls are requested at a time, which costs some 10 µs a call. They wait in a queue for each
   connection, and the server accepts one of each connection in turn. Only then do a call's tasks begin, which
   cost 0.3 to 0.5 ms.
2. The event loop reads at once all that grpc wakes it with (`server.grpc.poller`): otherwise the calls that
   were requested arrive one by one.

A connection counts as one client: a proxy's users share its turn. Both rely on internals of grpcio, whose
version is pinned; `tests/contract/interfaces/test_grpc_fairness.py` fails when they change.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import grpc.aio
from grpc._cython import cygrpc
from grpc.aio._server import Server, _augment_channel_arguments

from server.domain.round_robin import RoundRobin
from server.grpc.call_ends import CallLoop

#: Calls that are requested of the core at a time. All may arrive in one turn of the loop: some 3 ms.
REQUESTED = 256
#: Calls that wait to be accepted, some 16 KB each. Further ones stay in the core, which refuses what exceeds
#: `MAX_PENDING`, and all that exceeds twice as many.
MAX_QUEUED = MAX_PENDING = 4_000


class _InTurn(cygrpc.AioServer):  # type: ignore[misc]  # the library has no types
    """grpc.aio's server, which accepts what `_make_request_call_future` gives, one call in two turns of the
    loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *arguments: Any) -> None:
        super().__init__(CallLoop(loop), *arguments)
        self._event_loop = loop
        self._queues: RoundRobin[object] = RoundRobin()
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
        if self._queues:
            self._next.set_result(self._queues.take())
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
            self._queues.put(cygrpc._ServicerContext(call, None, None, self._event_loop).peer(), call)
            # It has its message, of up to 4 MiB, for as long as anything refers to it.
            del call
            self._accept()
            if len(self._queues) >= MAX_QUEUED:
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
        self._queues.clear()
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
    ) -> None:
        # Not grpc's own, which would make a server of the core that is never destroyed.
        self._loop = cygrpc.get_working_loop()
        arguments = _augment_channel_arguments(options, None)
        self._server = _InTurn(self._loop, None, (), interceptors, arguments, maximum_concurrent_rpcs)

    def add_registered_method_handlers(self, service_name: str, method_handlers: object) -> None:
        """Do nothing: the core would keep a queue for each method, outside these turns. Generated code adds
        the same handlers by name."""


def fair_server(
    *,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    options: Sequence[tuple[str, int]] = (),
    maximum_concurrent_rpcs: int | None = None,
) -> grpc.aio.Server:
    """A server that accepts the calls of its connections in turn. Arguments as of `grpc.aio.server`."""
    server: Any = _FairServer(interceptors, options, maximum_concurrent_rpcs)
    return cast(grpc.aio.Server, server)
