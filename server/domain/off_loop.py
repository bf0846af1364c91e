"""Long computations, off the event loop: in a thread that takes one at a time.

A thread does not compute faster. It lets the loop go on between the interpreter's switches, so that no other
run, reader or probe waits for the computation. With several threads at once, the loop would get a smaller
share of the interpreter. Even one thread that computes all the time slows the loop down: each time the loop
waits for data, it has to wait for the interpreter again. Therefore the thread for what runs send takes rests.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.round_robin import RoundRobin

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds after which a thread that computes lets the loop's thread go on, if that wants to. Python's own are
#: five times as long: each turn of the loop would wait for them.
SWITCH_S = 0.001
#: Bytes of input that are worked on in the loop itself: what takes a few milliseconds at most.
SMALL_BYTES = 64 << 10
#: Bytes for which a part counts besides its own: what each one costs, however small it is.
PART_BYTES = 512
#: A computation is followed by a rest if it took so long; the rest is so many times as long as it waited for
#: the interpreter, up to the longest rest, in seconds. An idle hub does not compete for it, so nothing rests.
LONG_S, REST_FACTOR, MAX_REST_S = 0.005, 10, 0.5


class OffLoop:
    """A thread for the long computations of one kind. Those for whom they are take turns. rests: whether it
    leaves the interpreter to the loop for a while after a computation that had to compete for it."""

    def __init__(self, name: str, *, rests: bool = False) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._rests, self._rests_until = rests, 0.0
        #: What waits, by whom it is for. The thread takes it, and so this needs a lock.
        self._waiting: RoundRobin[tuple[Future[Any], Callable[[], Any]]] = RoundRobin()
        self._lock = threading.Lock()

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result. When the call is cancelled, a function that has begun runs to its end."""
        result: Future[T] = Future()
        with self._lock:
            self._waiting.put(on_behalf_of.get(), (result, partial(function, *args, **kwargs)))
        # As many times as there are calls. Each time, the thread takes the call whose turn it is then.
        self._executor.submit(self._compute_next)
        return await asyncio.wrap_future(result)

    async def run_unless_small(
        self, sizes: Iterable[int], function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `run`, but in the loop itself if the function's input is small, so that it does not wait behind
        a large one. sizes: bytes of the input's parts; read only until they are too many."""
        left = SMALL_BYTES
        for size in sizes:
            left -= size + PART_BYTES
            if left < 0:
                return await self.run(function, *args, **kwargs)
        return function(*args, **kwargs)

    def _compute_next(self) -> None:
        if self._rests:
            time.sleep(max(self._rests_until - time.monotonic(), 0.0))
        with self._lock:
            result, function = self._waiting.take()
        if not result.set_running_or_notify_cancel():
            return
        try:
            found = self._compute(function)
        except BaseException as error:
            result.set_exception(error)
            # Otherwise the error would keep itself until the collector comes.
            del result
        else:
            result.set_result(found)

    def _compute(self, function: Callable[[], T]) -> T:
        if not self._rests:
            return _without_collections(function)
        began, began_cpu_s = time.monotonic(), time.thread_time()
        try:
            return _without_collections(function)
        finally:
            ended = time.monotonic()
            self._rests_until = ended + rest_s(ended - began, time.thread_time() - began_cpu_s)


def rest_s(seconds: float, cpu_s: float) -> float:
    """The rest after a computation of so many seconds, in which it had the processor for `cpu_s`."""
    if seconds < LONG_S:
        return 0.0
    return min(REST_FACTOR * max(seconds - cpu_s, 0.0), MAX_REST_S)


def _without_collections(function: Callable[[], T]) -> T:
    """The function's result. What makes a million objects would otherwise make the collector go through all
    of them many times, and each time nothing else runs."""
    if not gc.isenabled():
        return function()
    gc.disable()
    try:
        return function()
    finally:
        gc.enable()


#: What runs send and leave behind, what callers send, and what reviewers compare and merge: the latter may
#: take seconds, in which requests go on.
RUNS = OffLoop("runs", rests=True)
REQUESTS = OffLoop("requests", rests=True)
REVIEWS = OffLoop("reviews", rests=True)


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of the work, which a cancellation of this call does not stop: the call ends after it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled():
            # Nobody else asks for it.
            task.exception()
        raise
