"""How long a function keeps other threads of the process from running."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from threading import Event, Thread

from server.domain.off_loop import SWITCH_S

_TRIES = 20


def lets_others_run(prepare: Callable[[], Callable[[], object]], *, below: float) -> bool:
    """Whether the longest share of what `prepare` gives is small, in one of a few tries: a busy machine may
    let no other thread run for a while."""
    return any(longest_share(prepare()) < below for _ in range(_TRIES))


def longest_share(function: Callable[[], object]) -> float:
    """The longest part of a function's time, of 1, in which another thread did not run once. It is the
    processor's time that counts: the machine may be busy."""
    ready, begin, ended = Event(), Event(), Event()

    def run() -> None:
        ready.set()
        begin.wait()
        # As in the threads of the hub that compute: a collection goes through all objects in one call.
        gc.disable()
        function()
        gc.enable()
        ended.set()
        # Its clock is read until then.
        begin.clear()
        begin.wait()

    # As in the hub.
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    thread = Thread(target=run)
    thread.start()
    assert thread.ident is not None
    clock = time.pthread_getcpuclockid(thread.ident)
    ready.wait()
    began = last = time.clock_gettime(clock)
    longest = 0.0
    begin.set()
    while not ended.is_set():
        now = time.clock_gettime(clock)
        longest, last = max(longest, now - last), now
    now = time.clock_gettime(clock)
    while begin.is_set():
        pass
    begin.set()
    thread.join()
    sys.setswitchinterval(before)
    return max(longest, now - last) / (now - began)
