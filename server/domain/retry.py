"""Retries and repetition: the one way to wait out an outage, the one way to do something at intervals."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from server.domain.clock import Clock
from server.domain.errors import DatabaseUnavailable

T = TypeVar("T")


class Backoff:
    """Pauses between attempts: they double from `first_s` to `max_s`.

    Each is shortened by a random part, by half at most, so that clients that lost the same server do not all
    come back at the same moment. `jitter` returns numbers from 0 to 1.
    """

    def __init__(self, first_s: float, max_s: float, *, jitter: Callable[[], float] = random.random) -> None:
        self._first_s, self._max_s, self._jitter = first_s, max_s, jitter
        self._next_s = first_s

    def next_pause_s(self) -> float:
        """Seconds to wait before the next attempt."""
        pause_s = self._next_s * (1 - self._jitter() / 2)
        self._next_s = min(self._next_s * 2, self._max_s)
        return pause_s

    def reset(self) -> None:
        """Start again with the first pause, after an attempt that succeeded."""
        self._next_s = self._first_s


async def retry_while_unavailable(
    call: Callable[[], Awaitable[T]],
    clock: Clock,
    *,
    first_s: float,
    max_s: float,
    jitter: Callable[[], float] = random.random,
) -> T:
    """The result of `call`, which is repeated while it raises DatabaseUnavailable."""
    backoff: Backoff | None = None
    while True:
        try:
            return await call()
        except DatabaseUnavailable:
            backoff = backoff or Backoff(first_s, max_s, jitter=jitter)
            await clock.sleep(backoff.next_pause_s())


async def every(
    interval_s: float | Callable[[], float],
    call: Callable[[], Awaitable[object]],
    clock: Clock,
    *,
    immediately: bool = False,
) -> None:
    """Call forever at intervals, even after a call that raised DatabaseUnavailable.

    The first call is made after one interval, or `immediately`. An interval that may change is a function.
    """
    if immediately:
        await _unless_unavailable(call)
    while True:
        await clock.sleep(interval_s() if callable(interval_s) else interval_s)
        await _unless_unavailable(call)


async def _unless_unavailable(call: Callable[[], Awaitable[object]]) -> None:
    with contextlib.suppress(DatabaseUnavailable):
        await call()
