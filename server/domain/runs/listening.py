"""The time in which this process listens to the runtime: only that can be called the runtime's silence."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from server.domain.clock import Clock

#: Seconds by which a timer is late when the process, or its event loop, was paused: what came meanwhile
#: waits in the sockets and is read first.
MAX_LATE_S = 0.5


class ListeningClock:
    """Monotonic seconds that stand still while the hub does not read."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stood_still_s = 0.0
        self._stands_still_since: float | None = None

    def now(self) -> float:
        """Seconds since an arbitrary moment."""
        since = self._stands_still_since
        return (self._clock.monotonic() if since is None else since) - self._stood_still_s

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Time that passes in the block does not count."""
        began = self._stands_still_since = self._clock.monotonic()
        try:
            yield
        finally:
            self._stands_still_since = None
            self._stood_still_s += self._clock.monotonic() - began

    async def wait(self, reading: asyncio.Future[Any], *, until: float) -> bool:
        """Wait until `reading` is done or the time has come. Returns whether the time passed as usual:
        not when the process was paused."""
        seconds = max(until - self.now(), 0)
        began = self._clock.monotonic()
        await asyncio.wait({reading}, timeout=seconds)
        return self._clock.monotonic() - began <= seconds + MAX_LATE_S
