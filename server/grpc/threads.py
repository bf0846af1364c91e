"""The threads of grpc beside the event loop's."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

_TASKS = Path("/proc/self/task")


def let_loop_go_on() -> None:
    """Have the process's other threads never take the processor from this one, the event loop's, when they
    wake up: they wait until it waits. Threads that they start later do the same. Only on Linux.

    For a call grpc wakes its threads some ten times, each for a microsecond of work. By default each of them
    interrupts the loop, on the same processor, to hand it one event; the loop then has a turn for each event
    instead of one for several calls (docs/profiles.md).
    """
    if sys.platform != "linux":
        return
    own = threading.get_native_id()
    for task in _TASKS.iterdir():
        if int(task.name) != own:
            # It may have ended, or the system may not allow it: then it stays as it is.
            with suppress(OSError):
                os.sched_setscheduler(int(task.name), os.SCHED_BATCH, os.sched_param(0))
