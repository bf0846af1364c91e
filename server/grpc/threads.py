"""The threads of grpc beside the event loop's."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

_TASKS = Path("/proc/self/task")
#: How much nicer the other threads are: where they and the loop want the same processor, the loop has nine
#: tenths of it. A flood of calls takes as much of it for grpc's threads as there is, and each call that they
#: take in is work for the loop, for which everybody waits.
NICE = 10
#: The highest that Linux knows.
_MAX_NICE = 19


def let_loop_go_on() -> None:
    """Have the process's other threads never take the processor from this one, the event loop's, when they
    wake up: they wait until it waits, or until it has had nine times as much as they. Threads that they start
    later do the same. Only on Linux.

    For a call grpc wakes its threads some ten times, each for a microsecond of work. By default each of them
    interrupts the loop, on the same processor, to hand it one event; the loop then has a turn for each event
    instead of one for several calls (docs/profiles.md).
    """
    if sys.platform != "linux":
        return
    own = threading.get_native_id()
    nice = min(os.getpriority(os.PRIO_PROCESS, own) + NICE, _MAX_NICE)
    for task in _TASKS.iterdir():
        if int(task.name) != own:
            # It may have ended, or the system may not allow it: then it stays as it is.
            with suppress(OSError):
                os.sched_setscheduler(int(task.name), os.SCHED_BATCH, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, int(task.name), nice)
