"""When the garbage collector goes through all objects, and what threads share of the memory."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from server.interpreter_tuning import (
    GROWTH,
    HIGH_BYTES,
    IDLE_S,
    IDLE_SHARE,
    TICK_S,
    FullCollections,
    settled_interpreter,
)
from tests.support.processes import ROOT

BEGIN_BYTES = 100 << 20
GROWN_BYTES = int(BEGIN_BYTES * GROWTH)


class Process:
    """A process whose memory, processor time and clock a test sets."""

    def __init__(self) -> None:
        self.memory, self.cpu_s, self.now = BEGIN_BYTES, 0.0, 1_000.0
        self.collections = FullCollections(lambda: self.memory, lambda: self.cpu_s, self.now)

    def due_after(self, seconds: float, *, busy: bool) -> bool:
        """Whether a collection is due at the end of this time."""
        until, due = self.now + seconds, False
        while self.now < until:
            self.now += TICK_S
            self.cpu_s += TICK_S * (1.1 if busy else 0.9) * IDLE_SHARE
            due = self.collections.due(self.now)
        return due


def test_a_busy_hub_collects_nothing_until_its_memory_is_high() -> None:
    process = Process()
    process.memory = HIGH_BYTES - 1
    assert not process.due_after(10 * IDLE_S, busy=True)
    process.memory = HIGH_BYTES
    assert process.due_after(TICK_S, busy=True)


def test_a_hub_that_has_grown_collects_once_it_was_idle_for_a_while() -> None:
    process = Process()
    process.memory = GROWN_BYTES
    assert not process.due_after(IDLE_S - TICK_S, busy=False)
    assert process.due_after(TICK_S, busy=False)


def test_a_busy_moment_ends_the_idle_time() -> None:
    process = Process()
    process.memory = GROWN_BYTES
    assert not process.due_after(IDLE_S / 2, busy=False)
    process.cpu_s += IDLE_S
    assert not process.due_after(IDLE_S - TICK_S, busy=False)


def test_an_idle_hub_that_has_not_grown_collects_nothing() -> None:
    process = Process()
    process.memory = GROWN_BYTES - 1
    assert not process.due_after(10 * IDLE_S, busy=False)


def test_after_a_collection_the_memory_must_grow_again() -> None:
    process = Process()
    process.memory = HIGH_BYTES
    assert process.due_after(TICK_S, busy=True)
    process.collections.collected()
    assert not process.due_after(10 * IDLE_S, busy=False)
    process.memory = int(HIGH_BYTES * GROWTH)
    assert process.due_after(TICK_S, busy=True)


async def test_the_collector_s_own_full_collections_are_off_until_the_hub_ends() -> None:
    before = gc.get_threshold()
    async with settled_interpreter():
        assert gc.get_threshold()[:2] == before[:2]
        assert gc.get_threshold()[2] > 1_000_000
    assert gc.get_threshold() == before


#: Prints how many heaps the C library has after eight threads have taken memory at the same time.
_HEAPS = """
import ctypes, os, threading
from server.interpreter_tuning import share_heaps
share_heaps()
library, together = ctypes.CDLL(None), threading.Barrier(8)
library.malloc.restype = library.fdopen.restype = ctypes.c_void_p
def take():
    together.wait()
    library.malloc(100_000)
    together.wait()
threads = [threading.Thread(target=take) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
reading, writing = os.pipe()
stream = ctypes.c_void_p(library.fdopen(writing, b"w"))
library.malloc_info(0, stream)
library.fclose(stream)
print(open(reading).read().count("<heap "))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="an option of glibc")
def test_what_one_thread_frees_the_others_can_use() -> None:
    found = subprocess.run([sys.executable, "-c", _HEAPS], cwd=ROOT, capture_output=True, check=True)
    assert int(found.stdout) <= 2
