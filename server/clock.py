"""The clock of this machine."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import partial

from typing_extensions import override

from server.domain.clock import Clock


class SystemClock(Clock):
    """The clock of this machine."""

    #: The functions themselves: an event asks for the time some ten times.
    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)

    @override
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
