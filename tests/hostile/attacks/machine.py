"""What a process and the machine used meanwhile (Linux)."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from tests.support.processes import memory_mib

#: How late a tick of the loop was, and the processor time since the tick before, which includes what came
#: before it was due: the lesser is what held the loop.
_HELD, _SECONDS = re.compile(rb"event_loop_held.*"), re.compile(rb"seconds=([\d.]+)")


@dataclass(frozen=True)
class Usage:
    """What a hub process and its worker used: the peak of their memory in MiB, the longest computation that
    held the event loop, in seconds of processor time (0 if none was logged), and their share of a processor.
    `others_share`: the part of the machine that processes had which are none of the campaign's."""

    memory_mib: float
    loop_s: float
    cpu_share: float
    others_share: float


class Meter:
    """Measures from now on. `log`: the hub's."""

    def __init__(self, pid: int, log: Path) -> None:
        self._pid, self._log = pid, log
        self._logged = log.stat().st_size
        self._began, self._busy_s, self._own_s = time.monotonic(), _busy_s(), _own_s()
        self._cpu_s = _cpu_s(pid)
        # The peak begins again.
        Path(f"/proc/{pid}/clear_refs").write_text("5")

    def usage(self) -> Usage:
        """What it used so far. Without end if the process has ended."""
        seconds = time.monotonic() - self._began
        others_s = (_busy_s() - self._busy_s) - (_own_s() - self._own_s)
        with self._log.open("rb") as log:
            log.seek(self._logged)
            held = [min(map(float, _SECONDS.findall(entry))) for entry in _HELD.findall(log.read())]
        return Usage(
            sum(map(_peak_mib, (self._pid, *_workers(self._pid)))),
            max(held, default=0.0),
            (_cpu_s(self._pid) - self._cpu_s) / seconds,
            max(others_s, 0.0) / seconds / (os.cpu_count() or 1),
        )


def _peak_mib(pid: int) -> float:
    try:
        return memory_mib(pid, "VmHWM")
    except (OSError, StopIteration):
        return float("inf")


def _workers(pid: int) -> list[int]:
    """The processes that a hub has started, which are new: their peaks are those of the attack."""
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []


def _cpu_s(pid: int) -> float:
    """Seconds of all processors that a process had, with those of its workers; none if it has ended."""
    total = 0.0
    for each in (pid, *_workers(pid)):
        try:
            total += sum(psutil.Process(each).cpu_times()[:4])
        except psutil.Error:
            continue
    return total


def _busy_s() -> float:
    """Seconds of all processors that were not idle."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def _own_s() -> float:
    """Seconds of this process and its descendants, with those that have ended."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return total
