"""The watch over the event loop: how long it was blocked, and by what.

While one computation blocks the loop, all runs, readers and probes of the replica wait. A timer in the loop
measures how late it is; a thread looks, when the timer is late, at what the loop's thread is doing.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType

import structlog

#: Seconds between two ticks of the timer, and the lateness from which an entry is logged: a promise of
#: docs/architecture.md.
TICK_S, HELD_S = 0.05, 0.1
#: At most one entry in so many seconds.
ENTRY_S = 1.0

_PACKAGE = "server."


class LoopWatch:
    """Watches the running loop. on_tick: called with how late each tick is, in seconds."""

    def __init__(self, on_tick: Callable[[float], None]) -> None:
        self._on_tick = on_tick
        self._log = structlog.stdlib.get_logger("server.loop")
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._logged_at = -ENTRY_S
        #: Free once the watch ends. To wait for it is one call, unlike an Event's `wait`.
        self._watching = threading.Lock()
        self._watching.acquire()
        #: What the loop's thread did when the tick was late, and for which tick.
        self._seen: tuple[float, str] | None = None

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch until the block ends."""
        self._begin_tick()
        looking = threading.Thread(target=self._look_forever, name="loop-watch", daemon=True)
        looking.start()
        try:
            yield
        finally:
            self._watching.release()
            self._timer.cancel()

    # A callback, not a task that sleeps: that takes a future and two turns of the loop.
    def _begin_tick(self) -> None:
        self._due, self._cpu_s = time.monotonic() + TICK_S, time.thread_time()
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        late_s = max(time.monotonic() - self._due, 0.0)
        try:
            self._on_tick(late_s)
            if late_s >= HELD_S:
                self._report(late_s)
        finally:
            self._begin_tick()

    def _report(self, late_s: float) -> None:
        now = time.monotonic()
        if now - self._logged_at < ENTRY_S:
            return
        self._logged_at = now
        seen = self._seen
        self._log.warning(
            "event_loop_held",
            seconds=round(late_s, 3),
            # If this is much less than `seconds`, the loop's thread was waiting for another thread or a
            # processor.
            cpu_seconds=round(time.thread_time() - self._cpu_s, 3),
            at=seen[1] if seen is not None and seen[0] == self._due else "unknown",
        )

    def _look_forever(self) -> None:
        while not self._watching.acquire(timeout=HELD_S):
            due = self._due
            if time.monotonic() - due >= HELD_S and (self._seen is None or self._seen[0] != due):
                frame = sys._current_frames().get(self._loop_thread)
                self._seen = (due, place_of(frame))


def place_of(frame: FrameType | None) -> str:
    """The innermost function of the hub's own code in a stack, as `module:function`; the innermost one of all
    if there is none."""
    innermost = frame
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith(_PACKAGE) and module != __name__:
            return f"{module}:{frame.f_code.co_qualname}"
        frame = frame.f_back
    if innermost is None:
        return "unknown"
    return f"{innermost.f_globals.get('__name__', '')}:{innermost.f_code.co_qualname}"
