"""The supervision of the hub's parts: one that fails is named and started again.

A part that fails again and again ends the process, with its name and its fault in the log: then something is
wrong that a start in another process, or a person, must mend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, NoReturn

import structlog

from server.domain.clock import Clock
from server.domain.retry import Backoff
from server.observability.logs import code_path

#: Failures in a row after which a part is not started again.
MAX_RESTARTS = 5
#: Seconds after which a part that was started again counts as sound.
SOUND_S = 60.0
#: Pauses before a part is started again, in seconds; they double from the first to the last.
RESTART_FIRST_S, MAX_RESTART_S = 0.5, 30.0


class PartFailed(Exception):
    """A part of the hub failed for good. `part`: its name; the cause is what it failed with last."""

    def __init__(self, part: str) -> None:
        super().__init__(f"the {part} failed")
        self.part = part


def root_fault(fault: BaseException) -> BaseException:
    """The first fault of a group of faults, however deep; any other fault as it is."""
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault


def log_failure(part: str, fault: BaseException, *, final: bool) -> None:
    """Log that a part failed: its name, the fault's class and its path through the code, without its text."""
    cause = root_fault(fault.__cause__ if isinstance(fault, PartFailed) and fault.__cause__ else fault)
    structlog.stdlib.get_logger("server").error(
        "part_failed" if final else "part_started_again",
        part=part,
        fault=type(cause).__name__,
        where=code_path(cause.__traceback__),
    )


async def supervise(name: str, part: Callable[[], Awaitable[object]], clock: Clock) -> NoReturn:
    """Run a part, and start it again when it fails or ends. Raises PartFailed."""
    backoff = Backoff(RESTART_FIRST_S, MAX_RESTART_S)
    failures = 0
    while True:
        began = clock.monotonic()
        try:
            await part()
            fault: Exception = RuntimeError("it ended")
        except Exception as error:
            fault = error
        if clock.monotonic() - began > SOUND_S:
            failures = 0
            backoff.reset()
        failures += 1
        if failures > MAX_RESTARTS:
            raise PartFailed(name) from fault
        log_failure(name, fault, final=False)
        await clock.sleep(backoff.next_pause_s())


async def supervise_all(
    parts: Mapping[str, Callable[[], Awaitable[object]]], clock: Clock, *others: Coroutine[Any, Any, None]
) -> None:
    """Run the parts, by name, each supervised, and others that are not started again.

    When one fails for good, all end. Raises its failure, such as PartFailed.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for other in others:
                group.create_task(other)
            for name, part in parts.items():
                group.create_task(supervise(name, part, clock), name=name)
    except BaseExceptionGroup as faults:
        raise root_fault(faults) from root_fault(faults).__cause__
