"""Work that several callers ask for at the same time, and that is done once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

K = TypeVar("K")
T = TypeVar("T")


async def single_flight(
    running: dict[K, asyncio.Task[T]], key: K, work: Callable[[], Coroutine[Any, Any, T]], *, name: str
) -> T:
    """The result of `work`, which runs once for all who ask for `key` while it runs.

    running: the caller's tasks by their keys; each is removed when it ends. name: of the task. Raises what
    the work raises, to all who wait for it. A caller that is cancelled does not cancel it.
    """
    task = running.get(key)
    if task is None:
        task = running[key] = asyncio.create_task(work(), name=name)

        def forget(done: asyncio.Task[T]) -> None:
            del running[key]
            # All who waited for it may have left: its error is not reported as never retrieved.
            done.cancelled() or done.exception()

        task.add_done_callback(forget)
    return await asyncio.shield(task)
