"""Which runs handle their frames in a turn of the event loop."""

from __future__ import annotations

import asyncio

import pytest

from server.domain.loop_turns import MIN_FRAME_BYTES, RUN_FRAMES, SMALL_BYTES, LoopTurns, fill_turn


async def test_a_turn_is_for_a_few_bytes_and_callers_take_turns() -> None:
    turns, handled = LoopTurns(3 * SMALL_BYTES), list[str]()

    async def handle(caller: str, size: int) -> None:
        await turns.take(caller, size * SMALL_BYTES)
        handled.append(caller)

    async def seen_after(*runs: tuple[str, int]) -> list[list[str]]:
        """What was handled by the end of each turn of the loop."""
        handled.clear()
        tasks = [asyncio.ensure_future(handle(*run)) for run in runs]
        seen = []
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            if not seen or handled != seen[-1]:
                seen.append(list(handled))
        return seen

    # The budget lasts until a turn has had all of it, and a waiting run is not overtaken.
    assert await seen_after(("a", 2), ("a", 2), ("a", 1), ("a", 2), ("b", 5), ("c", 1)) == [
        ["a", "a"],
        ["a", "a", "a", "b"],
        ["a", "a", "a", "b", "c", "a"],
    ]


async def test_a_run_that_leaves_takes_nothing_from_the_turn() -> None:
    turns = LoopTurns(SMALL_BYTES)
    takes = [asyncio.ensure_future(turns.take(caller, SMALL_BYTES)) for caller in ("a", "b", "c")]
    first, leaving, staying = takes
    await asyncio.sleep(0)
    assert first.done()
    assert not leaving.done()
    leaving.cancel()
    await asyncio.wait_for(staying, 60)
    assert leaving.cancelled()


async def test_a_few_frames_wait_only_behind_others() -> None:
    turns = LoopTurns(SMALL_BYTES)
    for _ in range(100):
        # It ends at once, without a turn of the loop.
        with pytest.raises(StopIteration):
            turns.take("a", SMALL_BYTES - 1).send(None)
    await turns.take("a", SMALL_BYTES)
    large = asyncio.ensure_future(turns.take("a", SMALL_BYTES))
    await asyncio.sleep(0)
    small = asyncio.ensure_future(turns.take("b", 1))
    await asyncio.wait({small})
    assert large.done()


@pytest.mark.parametrize(
    ("sizes", "filled"),
    [
        ([0, 5], (2, 2 * MIN_FRAME_BYTES)),
        ([0, 9 * MIN_FRAME_BYTES, 5], (3, 9 * MIN_FRAME_BYTES + 5)),
        ([1] * (RUN_FRAMES + 1), (RUN_FRAMES, RUN_FRAMES * MIN_FRAME_BYTES)),
        ([9 * MIN_FRAME_BYTES] * (RUN_FRAMES + 1), (RUN_FRAMES, RUN_FRAMES * 9 * MIN_FRAME_BYTES)),
    ],
)
def test_frames_count_for_a_kibibyte_each_at_least(sizes: list[int], filled: tuple[int, int]) -> None:
    assert fill_turn(sizes) == filled
