"""The cost of calls to the hub: time, and the hub's CPU and memory."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.figures import Stats
from bench.machine import cpu_seconds, reset_peak_memory
from tests.support.processes import memory_mib

T = TypeVar("T")

#: The columns of `cells`.
HEADS = ("ms", "hub CPU ms", "hub memory MiB")


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one operation. memory_mib: the peak of the hub's memory, beyond what it had before."""

    ms: float
    cpu_ms: float
    memory_mib: float


async def measured(hub_pid: int, work: Awaitable[T]) -> tuple[Cost, T]:
    """The cost of some calls, and their result."""
    reset_peak_memory(hub_pid)
    resident = memory_mib(hub_pid, "VmRSS")
    began, cpu = time.perf_counter(), cpu_seconds(hub_pid)
    result = await work
    ms, cpu_ms = 1000 * (time.perf_counter() - began), 1000 * (cpu_seconds(hub_pid) - cpu)
    return Cost(ms, cpu_ms, max(memory_mib(hub_pid, "VmHWM") - resident, 0.0)), result


def cells(costs: Sequence[Cost]) -> list[str | Stats]:
    """The cells of an operation that was measured several times."""
    return [
        Stats.of([cost.ms for cost in costs]),
        Stats.of([cost.cpu_ms for cost in costs]),
        Stats.of([cost.memory_mib for cost in costs]),
    ]
