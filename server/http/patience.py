"""Open streams outlast an absence of the database: they wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from server.domain.errors import DatabaseUnavailable

T = TypeVar("T")

#: Seconds between two tries.
RETRY_S = 1.0


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """The call's result, tried again for as long as the database is away."""
    while True:
        try:
            return await call()
        except DatabaseUnavailable:
            await asyncio.sleep(RETRY_S)
