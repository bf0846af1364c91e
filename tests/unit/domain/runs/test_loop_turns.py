"""Which runs handle their frames in a turn of the event loop."""

from __future__ import annotations

import asyncio

import pytest

from server.domain.runs.loop_turns import MIN_FRAME_BYTES, TURN_BYTES, LoopTurns, fill_turn


async def test_a_turn_is_for_a_few_bytes_and_callers_take_turns() -> None:
    turns, handled = LoopTurns(3), list[str]()

    async def handle(caller: str, size_bytes: int) -> None:
        await turns.take(caller, size_bytes)
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
    turns = LoopTurns(1)
    first, leaving, staying = (asyncio.ensure_future(turns.take(caller, 1)) for caller in ("a", "b", "c"))
    await asyncio.sleep(0)
    assert first.done()
    assert not leaving.done()
    leaving.cancel()
    await asyncio.wait_for(staying, 5)
    assert leaving.cancelled()


@pytest.mark.parametrize(
    ("sizes", "start", "filled"),
    [
        ([0, 5], 0, (2, 2 * MIN_FRAME_BYTES)),
        ([0, TURN_BYTES, 5], 0, (2, TURN_BYTES + MIN_FRAME_BYTES)),
        ([9 * TURN_BYTES, 5], 0, (1, 9 * TURN_BYTES)),
        ([9 * TURN_BYTES, 5], 1, (2, MIN_FRAME_BYTES)),
        ([1] * 100, 10, (10 + TURN_BYTES // MIN_FRAME_BYTES, TURN_BYTES)),
    ],
)
def test_a_frame_counts_for_a_kibibyte_at_least(
    sizes: list[int], start: int, filled: tuple[int, int]
) -> None:
    assert fill_turn(sizes, start) == filled
