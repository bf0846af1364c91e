"""The process that computes for the hub.

It says that it is ready, reads calls of functions from its input and writes their results to its output,
until its input ends, as it does when the hub ends in whatever way. What it may use is bounded by the kernel:
a computation that takes more ends the process.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

from server.interpreter_tuning import map_large_buffers
from server.worker.messages import READY, Call, Raised, Returned, receive, send

#: The modules whose functions a worker of each kind runs: they are imported before it is ready.
MODULES = {
    "frames": ("server.worker.frames",),
    "reviews": (
        "server.domain.file_history.file_history",
        "server.domain.review.acceptance",
        "server.domain.review.comparisons",
        "server.wire.diff_answers",
    ),
}


def _bound(max_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        # If memory is short, this process goes before the hub.
        Path("/proc/self/oom_score_adj").write_text("1000")


def _result(call: Call) -> Returned | Raised:
    function, args, kwargs = call
    try:
        return Returned(function(*args, **kwargs))
    except MemoryError:
        # The process ends.
        raise
    except Exception as error:
        return Raised(error.with_traceback(None))


def main(kind: str, max_cpu_s: float, max_bytes: int) -> None:
    """Answer until the input ends. max_cpu_s: of one computation."""
    _bound(max_bytes)
    # What anything prints must not get between the answers.
    output = os.dup(1)
    os.dup2(2, 1)
    for module in MODULES[kind]:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    gc.disable()
    map_large_buffers()
    send(output, READY)
    while True:
        try:
            call = receive(sys.stdin.buffer)
        except EOFError:
            return
        # Its signal ends the process. It counts processor time, not that of others.
        signal.setitimer(signal.ITIMER_PROF, max_cpu_s)
        result = _result(call)
        signal.setitimer(signal.ITIMER_PROF, 0)
        del call
        try:
            send(output, result)
        except OSError:
            return
        del result
        gc.collect()
