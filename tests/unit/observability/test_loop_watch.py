"""The watch over the event loop."""

from __future__ import annotations

import asyncio
import time

from structlog.testing import capture_logs

from server.observability.loop_watch import HELD_S, LoopWatch
from tests.support.hand_clock import PATIENCE_S


def _hold(seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        pass


async def test_what_holds_the_loop_is_measured_and_named() -> None:
    delays: list[float] = []

    def named() -> list[float]:
        """How long it held the loop. On a busy machine, other places hold it, too."""
        held = [entry for entry in entries if entry["event"] == "event_loop_held"]
        return [entry["seconds"] for entry in held if entry["at"].endswith("_hold")]

    with capture_logs() as entries:
        async with LoopWatch(delays.append).watching(), asyncio.timeout(PATIENCE_S):
            while not named():
                await asyncio.sleep(0)
                _hold(4 * HELD_S)
                before = len(delays)
                while len(delays) == before:
                    await asyncio.sleep(0)
    assert max(delays) > 2 * HELD_S
    assert max(named()) > 2 * HELD_S
