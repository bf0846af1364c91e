"""Concurrent calls for the same result, which is computed once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

K = TypeVar("K")
T = TypeVar("T")


async def single_flight(
    running: dict[K, asyncio.Task[T]], key: K, work: Callable[[], Coroutine[Any, Any, T]], *, name: str
) -> T:
    """The result of `work`, which runs once for all concurrent calls with the same key.

    running: the tasks of these calls by key; each is removed when it ends. name: of the task. Every call
    raises what the work raises. Cancelling a call does not cancel the work.
    """
    task = running.get(key)
    if task is None:
        task = running[key] = asyncio.create_task(work(), name=name)

        def forget(done: asyncio.Task[T]) -> None:
            del running[key]
            # If all calls were cancelled, its error is not reported as never retrieved.
            done.cancelled() or done.exception()

        task.add_done_callback(forget)
    return await asyncio.shield(task)
