"""The watch over the event loop."""

from __future__ import annotations

import asyncio
import time

from structlog.testing import capture_logs

from server.observability.loop_watch import HELD_S, LoopWatch


def _hold(seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        pass


async def test_what_holds_the_loop_is_measured_and_named() -> None:
    delays: list[float] = []
    with capture_logs() as entries:
        async with LoopWatch(delays.append).watching():
            await asyncio.sleep(0)
            _hold(4 * HELD_S)
            async with asyncio.timeout(10):
                while not delays:
                    await asyncio.sleep(0)
    assert max(delays) > 2 * HELD_S
    [entry] = [entry for entry in entries if entry["event"] == "event_loop_held"]
    assert entry["seconds"] > 2 * HELD_S
    assert entry["at"].endswith("_hold")
