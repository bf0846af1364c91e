"""The pace at which a recording is played."""

from __future__ import annotations

import asyncio

from server.replay.directives import FRAMES_PER_SECOND, Directive
from server.replay.recording import Recording
from server.replay.runs import Run

FRAMES = tuple(f'{{"event_type": "frame {number}"}}' for number in range(1_000))


async def test_frames_that_are_late_do_not_wait_for_each_other() -> None:
    turns = 0

    def count() -> None:
        nonlocal turns, counting
        turns += 1
        counting = loop.call_soon(count)

    seconds = 0.0
    run = Run(Recording("late", FRAMES), Directive("late", speed=1.0), lambda: seconds)
    seconds = len(FRAMES) / FRAMES_PER_SECOND
    loop = asyncio.get_running_loop()
    counting = loop.call_soon(count)
    assert tuple([frame async for frame in run.frames()]) == FRAMES
    counting.cancel()
    # Others have their turns meanwhile, but not one for each frame.
    assert 2 < turns < len(FRAMES) / 10
