"""Settings of the Python interpreter that shorten its pauses and keep its memory small.

A full collection of the garbage collector traverses all objects. With 6,000 waiting gRPC calls it takes 0.2
to 0.4 s, nothing else runs meanwhile, and by default there are many while the calls arrive. Almost all
objects are freed with their last reference, and need no collection. Collections of young objects, which take
about a millisecond, stay as they are.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from server.domain.off_loop import SWITCH_S
from server.large_pages import join_pages_once_busy

#: Memory from which on full collections do not wait until the hub is idle.
HIGH_BYTES = 384 << 20
#: How much the memory must have grown since the last full collection.
GROWTH = 1.25
#: Seconds between two looks at the memory. The hub is idle if it has used less than this share of a processor
#: for so many seconds.
TICK_S, IDLE_SHARE, IDLE_S = 0.25, 0.3, 60.0
#: Collections of the middle generation before one of all objects: never.
_NEVER = 1 << 30

#: Bytes from which on a buffer is mapped on its own, and returned to the system when it is freed. The C
#: library's own limit grows with what was freed, so that a large frame leaves holes in the heap.
_MAPPED_BYTES = 1 << 20
#: The C library's number of that option (glibc, `M_MMAP_THRESHOLD`).
_MMAP_THRESHOLD = -3
#: Heaps of the C library for all threads. By default each thread has one of its own, up to eight times the
#: processors, and what one has freed, the others cannot use: a flood of calls, which grpc's threads take and
#: end in turn, left 200 MiB there. With two, the event loop seldom waits for another thread's memory.
_HEAPS = 2
#: The C library's number of that option (glibc, `M_ARENA_MAX`).
_HEAPS_OPTION = -8
_STATM = Path("/proc/self/statm")


class FullCollections:
    """Decides when a full collection is due. memory_bytes: the memory of the process; cpu_s: the processor
    time that it has used; now: monotonic seconds."""

    def __init__(self, memory_bytes: Callable[[], int], cpu_s: Callable[[], float], now: float) -> None:
        self._memory_bytes, self._cpu_s = memory_bytes, cpu_s
        self._collected_bytes = memory_bytes()
        self._busy_at, self._busy_cpu_s = now, cpu_s()

    def due(self, now: float) -> bool:
        """Whether to collect."""
        memory = self._memory_bytes()
        idle = self._idle(now)
        return memory >= GROWTH * self._collected_bytes and (idle or memory >= HIGH_BYTES)

    def collected(self) -> None:
        """Note that all garbage is freed."""
        self._collected_bytes = self._memory_bytes()

    def _idle(self, now: float) -> bool:
        idle_s, cpu_s = now - self._busy_at, self._cpu_s()
        if cpu_s - self._busy_cpu_s > IDLE_SHARE * max(idle_s, TICK_S):
            self._busy_at, self._busy_cpu_s = now, cpu_s
            return False
        return idle_s >= IDLE_S


@asynccontextmanager
async def settled_interpreter() -> AsyncIterator[None]:
    """Reduce the interpreter's pauses until the block ends; enter it once everything is imported and open."""
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_S)
    map_large_buffers()
    if sys.platform != "linux":
        # The memory is not known here: the interpreter decides.
        yield
        return
    collecting = asyncio.create_task(_collect_when_due(), name="full collections")
    joining = asyncio.create_task(join_pages_once_busy(), name="large pages")
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        collecting.cancel()
        joining.cancel()
        await asyncio.gather(collecting, joining, return_exceptions=True)


def map_large_buffers() -> None:
    """Return large buffers to the system as soon as they are freed."""
    _set_option(_MMAP_THRESHOLD, _MAPPED_BYTES)


def share_heaps() -> None:
    """Have all threads that are started from now on share what memory is freed."""
    _set_option(_HEAPS_OPTION, _HEAPS)


def _set_option(option: int, value: int) -> None:
    """Set an option of the C library's memory, if it has any."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(option, value)


async def _collect_when_due() -> None:
    collections = FullCollections(_memory_bytes, time.process_time, time.monotonic())
    while True:
        await asyncio.sleep(TICK_S)
        # A long computation off the loop switches collections off: it makes a million objects.
        if gc.isenabled() and collections.due(time.monotonic()):
            gc.collect()
            collections.collected()


def _memory_bytes() -> int:
    return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
