"""Time in tests: a clock that is moved by hand, an event loop without pauses, and waiting for a condition."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

#: Seconds within which what a test waits for happens, also on a busy machine.
PATIENCE_S = 60.0


class HandClock:
    """Stands still until it is moved (ports.Clock)."""

    def __init__(self) -> None:
        self._start = datetime.now(UTC).replace(microsecond=0)
        self._seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Now, UTC-aware."""
        return self._start + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        """Seconds since the test began, as moved."""
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved so far."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._seconds + seconds, woken))
        await woken

    def move(self, seconds: float) -> None:
        """Move it, and wake whose time has come."""
        self._seconds += seconds
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self._seconds]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._seconds]
        for _, woken in due:
            if not woken.done():
                woken.set_result(None)


class _Impatient(selectors.DefaultSelector):
    """Does not wait for a time: it moves the loop's."""

    skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0 if timeout is not None else None)
        if not found and timeout is not None:
            self.skipped_s += timeout
        return found


class _SkippingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._impatient = _Impatient()
        super().__init__(self._impatient)

    def time(self) -> float:
        return self._impatient.skipped_s


def without_pauses(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on an event loop whose time stands still while there is anything to do, and then moves on to
    the next timer: how long the machine takes makes no difference."""

    def run() -> None:
        with asyncio.Runner(loop_factory=_SkippingLoop) as runner:
            runner.run(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def until(condition: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Wait for what has no event of its own, by asking for it. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def turns(count: int = 5) -> None:
    """Let waiting tasks go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def retried(
    call: Callable[[], Awaitable[T]], *errors: type[BaseException], within_s: float = PATIENCE_S
) -> T:
    """What a call gives once it raises none of the errors. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                return await call()
            except errors:
                await asyncio.sleep(0.05)
