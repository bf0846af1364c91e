"""The deadline of many awaitables: one timer for all of them.

A timer for each would cost as much as writing a message, or receiving a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from math import inf
from typing import Any, TypeVar

T = TypeVar("T")


class SharedDeadline:
    """Limits each awaitable to the same number of seconds. A task waits for one at a time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        #: By when each wait must end, earliest first; -inf once its task is cancelled for it.
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def limit(self, awaitable: Awaitable[T]) -> T:
        """Wait for something. Raises TimeoutError at its deadline."""
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        cancellations_before = task.cancelling()
        self._ends[task] = ends_at = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(ends_at, self._cancel_overdue, loop)
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._ends[task] == -inf and task.uncancel() <= cancellations_before:
                raise TimeoutError from None
            raise
        finally:
            del self._ends[task]

    def expire(self, task: asyncio.Task[Any]) -> None:
        """End a task's wait in the next turn of the event loop, unless it has ended by then."""
        task.get_loop().call_soon(self._cancel, task)

    def _cancel_overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for task, ends_at in self._ends.items():
            if ends_at > now:
                self._timer = loop.call_at(ends_at, self._cancel_overdue, loop)
                break
            self._cancel(task)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        if self._ends.get(task, -inf) != -inf:
            self._ends[task] = -inf
            task.cancel()
