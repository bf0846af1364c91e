"""The machine's clock, behind the domain's port."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from typing_extensions import override

from server.domain.clock import Clock


class SystemClock(Clock):
    """The machine's clock."""

    @override
    def now(self) -> datetime:
        return datetime.now(UTC)

    @override
    def monotonic(self) -> float:
        return time.monotonic()

    @override
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
