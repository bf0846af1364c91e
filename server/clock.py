"""The machine's own time and randomness, behind the domain's ports."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from uuid import UUID, uuid4


class SystemClock:
    """The machine's clock (ports.Clock)."""

    def now(self) -> datetime:
        """Now, UTC-aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class RandomIds:
    """Random UUIDs (ports.Ids)."""

    def new(self) -> UUID:
        """An id that nothing has yet."""
        return uuid4()
