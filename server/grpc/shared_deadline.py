"""The deadline of writes: one timer for all that are in progress.

A timer for each write would cost as much as the write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from math import inf
from typing import Any


class WriteDeadline:
    """Limits each write to the same number of seconds. A task has one write in progress at most."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        #: By when each write must end, earliest first; -inf once its task is cancelled for it.
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def limit(self, write: Awaitable[None]) -> None:
        """Wait for a write. Raises TimeoutError at its deadline."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        cancellations_before = task.cancelling()
        self._ends[task] = ends_at = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(ends_at, self._cancel_overdue, loop)
        try:
            await write
        except asyncio.CancelledError:
            if self._ends[task] == -inf and task.uncancel() <= cancellations_before:
                raise TimeoutError from None
            raise
        finally:
            del self._ends[task]

    def _cancel_overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for task, ends_at in self._ends.items():
            if ends_at > now:
                self._timer = loop.call_at(ends_at, self._cancel_overdue, loop)
                break
            if ends_at != -inf:
                self._ends[task] = -inf
                task.cancel()
