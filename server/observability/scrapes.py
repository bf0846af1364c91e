"""Scrapes of the metrics: a few in a second, however many ask (ADR 0073).

To collect them takes some milliseconds of the event loop, and anyone may ask. Those who ask soon after a
collection wait for the next one, which they share: nobody gets figures from before the question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import TypeAlias

#: The text of a scrape and its media type.
Exposition: TypeAlias = Callable[[], Awaitable[tuple[bytes, str]]]

#: Seconds between two collections at least.
PAUSE_S = 0.1


class SharedScrapes:
    """Scrapes that share collections. collect: makes the exposition."""

    def __init__(
        self, collect: Exposition, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._collect, self._pause = collect, pause
        self._began_at = -inf
        #: The collection that has not begun, for all who wait for it.
        self._next: asyncio.Task[tuple[bytes, str]] | None = None

    async def exposition(self) -> tuple[bytes, str]:
        """What the next collection finds."""
        if self._next is None:
            self._next = asyncio.create_task(self._collect_next(), name="scrape")
        return await asyncio.shield(self._next)

    async def _collect_next(self) -> tuple[bytes, str]:
        loop = asyncio.get_running_loop()
        wait_s = self._began_at + PAUSE_S - loop.time()
        if wait_s > 0:
            await self._pause(wait_s)
        # Who asks from now on gets what is collected after this.
        self._next, self._began_at = None, loop.time()
        return await self._collect()
