"""The memory that all runs of this process share between the runtime and the journal."""

from __future__ import annotations

import asyncio
from collections import deque

#: Default bound, in bytes.
MAX_QUEUED_BYTES = 128 << 20


class ByteBudget:
    """Bytes that are in use, and a first-come-first-served queue for those that are not free.

    max_bytes: the bound for `reserve`. One reservation above it is granted when nothing else is in use.
    """

    def __init__(self, max_bytes: int = MAX_QUEUED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        #: Bytes in use.
        self.used_bytes = 0

    def reserve_now(self, size_bytes: int) -> bool:
        """Take so many bytes into use if they are free and nobody waits. Returns whether it did."""
        free = not self._waiting and self._fits(size_bytes)
        if free:
            self.used_bytes += size_bytes
        return free

    async def reserve(self, size_bytes: int) -> None:
        """Take so many bytes into use, once they are free and all earlier reservations are granted."""
        if self.reserve_now(size_bytes):
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (size_bytes, granted)
        self._waiting.append(place)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release(size_bytes)
            else:
                self._waiting.remove(place)
                self._grant()
            raise

    def add(self, size_bytes: int) -> None:
        """Take so many bytes into use at once, also above the bound: they exist already."""
        self.used_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Give so many bytes back."""
        self.used_bytes -= size_bytes
        self._grant()

    def _fits(self, size_bytes: int) -> bool:
        return not self.used_bytes or self.used_bytes + size_bytes <= self._max_bytes

    def _grant(self) -> None:
        while self._waiting:
            size_bytes, granted = self._waiting[0]
            if not self._fits(size_bytes):
                return
            self._waiting.popleft()
            if not granted.cancelled():
                self.used_bytes += size_bytes
                granted.set_result(None)
