"""Long computations, beside the event loop: in a thread that takes one at a time.

A thread does not compute faster. It lets the loop go on between the interpreter's switches, so that no other
run, reader or probe waits for the computation. With several threads at once, the loop would get a smaller
share of the interpreter.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds after which a thread that computes lets the loop's thread go on, if that wants to. Python's own are
#: five times as long: each turn of the loop would wait for them.
SWITCH_S = 0.001
#: Bytes of input that are worked on in the loop itself: what takes a few milliseconds at most.
SMALL_BYTES = 64 << 10
#: Bytes for which a part counts besides its own: what each one costs, however small it is.
PART_BYTES = 512


class OffLoop:
    """A thread for the long computations of one kind."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result. When the call is cancelled, the function still runs to its end."""
        call = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._executor, _without_collections, call)

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
RUNS = OffLoop("runs")
REQUESTS = OffLoop("requests")
REVIEWS = OffLoop("reviews")


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
