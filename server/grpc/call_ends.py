"""Calls whose clients leave while they wait, and calls that are dropped: so many end in one turn of the event
loop (ADR 0057).

A client that disconnects ends all of its calls at once, and grpc.aio reports all of these ends in one turn of
the loop. To cancel a handler costs 40 to 80 µs: 6,000 calls that wait hold everybody up for some 0.3 s. A
call that waits is only a timer, so it may as well end a moment later.

grpc.aio waits for the end of a call with a future of the event loop that it was given. `CallLoop` is that
loop, and makes this future a `CallEnd`, which the handler finds in its context. This relies on internals of
grpcio, whose version is pinned; `tests/contract/interfaces/test_grpc_fairness.py` fails when they change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar
from typing import Any

from server.domain.endings import Endings

#: Calls that are freed in a turn of the event loop, some 1 ms, and their part of those that are dropped.
_FREED, _FREED_PART = 64, 4
#: How grpc.aio names the task of a call's handler, before it waits for the end of the call.
_HANDLER = "HandleExceptions["


class CallEnd(asyncio.Future[None]):
    """Done when the call has ended; while the call waits, when it is its turn to end."""

    __slots__ = ("_endings", "ended", "waits")

    def __init__(self, endings: Endings, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._endings = endings
        self.waits = self.ended = False

    def set_result(self, result: None) -> None:
        """Called by grpc.aio when the call has ended, also by itself."""
        if self.waits:
            self.ended = True
            self._endings.add(self._finish)
        else:
            super().set_result(result)

    def _finish(self) -> None:
        """Let grpc.aio cancel the handler."""
        if not self.done():
            super().set_result(None)


_end: ContextVar[CallEnd | None] = ContextVar("call_end", default=None)


class waiting:
    """A block in which the current call only waits. If its client ended it meanwhile, raises CancelledError
    at the end of the block."""

    __slots__ = ("_end",)

    def __enter__(self) -> None:
        self._end = _end.get()
        if self._end is not None:
            self._end.waits = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._end is None:
            return
        self._end.waits = False
        if self._end.ended and kind is not asyncio.CancelledError:
            raise asyncio.CancelledError from None


class DroppedCalls:
    """Calls that are dropped. A call ends when it is freed, which takes 14 to 20 µs: grpc frees its memory,
    and writes to its client. All of a connection's calls may be dropped at once."""

    def __init__(self) -> None:
        self._calls: list[object] = []

    def add(self, calls: Iterable[object]) -> None:
        """Free calls in the next turns of the loop. Nobody else may refer to them."""
        if not self._calls:
            asyncio.get_running_loop().call_soon(self._free_some)
        self._calls += calls

    def _free_some(self) -> None:
        # A part, so that they do not become more and more, however many are dropped in a turn.
        del self._calls[-max(_FREED, len(self._calls) // _FREED_PART) :]
        if self._calls:
            asyncio.get_running_loop().call_soon(self._free_some)


class CallLoop:
    """The event loop as a server of grpc.aio uses it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._endings = loop, Endings()
        self.create_future: Callable[[], asyncio.Future[Any]] = loop.create_future

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def create_task(self, work: Coroutine[Any, Any, Any], *, name: str | None = None) -> asyncio.Task[Any]:
        """As a loop's."""
        if name is not None and name.startswith(_HANDLER):
            end = CallEnd(self._endings, self._loop)
            # In the context of the task that waits for the call's end, of which the handler's gets a copy.
            _end.set(end)
            self.create_future = lambda: self._give(end)
        return self._loop.create_task(work, name=name)

    def _give(self, end: CallEnd) -> CallEnd:
        self.create_future = self._loop.create_future
        return end

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: Any) -> object:
        """As a loop's, but at once in the loop itself: so does grpc.aio for a loop that it knows."""
        if asyncio._get_running_loop() is self._loop:
            return callback(*arguments)
        return self._loop.call_soon_threadsafe(callback, *arguments)
