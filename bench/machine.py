"""The machine: which cores measure and which are measured, what a process has used, and versions."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used with all its threads, to the nanosecond (Linux)."""
    # The number that clock_getcpuclockid(3) makes of a process id; psutil's figure has ticks of 10 ms.
    return time.clock_gettime((~pid << 3) | 2)


def tree_cpu_seconds(pid: int) -> float:
    """The same of a process and its children, those that are gone included."""
    process = psutil.Process(pid)
    gone = process.cpu_times()
    total = cpu_seconds(pid) + gone.children_user + gone.children_system
    for child in process.children(recursive=True):
        # One may end meanwhile.
        with contextlib.suppress(OSError):
            total += cpu_seconds(child.pid)
    return float(total)


def resident_kib(pid: int) -> int:
    """KiB that a process has to itself: shared pages count in proportion (Linux)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def reset_peak_memory(pid: int) -> None:
    """Make a process's peak of memory, `VmHWM`, begin again with what it has now (Linux)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@contextlib.contextmanager
def on_target_core() -> Iterator[None]:
    """Processes that start in the block have the last core: those that are measured."""
    yield from _on({max(os.sched_getaffinity(0))})


@contextlib.contextmanager
def on_other_cores() -> Iterator[None]:
    """Processes that start in the block have all cores but the last: runtime, readers and PostgreSQL."""
    cores = os.sched_getaffinity(0)
    yield from _on(cores - {max(cores)} or cores)


def _on(cores: set[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def description() -> str:
    """The machine in one line."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    model = models[0].partition(": ")[2] if models else platform.machine()
    memory = psutil.virtual_memory().total / (1 << 30)
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores ({model}), {memory:.0f} GiB, Linux {platform.release()}"
