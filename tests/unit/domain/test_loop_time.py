"""How long readers that catch up go on in a turn of the event loop."""

from __future__ import annotations

import asyncio

from server.domain.loop_time import LoopTime


class Clock:
    """Seconds that pass only when something is done."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds


class Work:
    """What was done in each turn of the loop, as names."""

    def __init__(self, turn_s: float = 1.0) -> None:
        self.clock = Clock()
        self.time = LoopTime(turn_s, now=self.clock.now)
        self.turns: list[str] = [""]
        self._next_turn()

    def _next_turn(self) -> None:
        if self.turns[-1]:
            self.turns.append("")
        asyncio.get_running_loop().call_soon(self._next_turn)

    async def do(self, name: str, *, times: int, seconds: float) -> None:
        """So many pieces of work of a caller."""
        for _ in range(times):
            await self.time.take(name)
            self.turns[-1] += name
            self.clock.seconds += seconds


async def test_who_is_alone_goes_on_until_the_turns_time_is_over() -> None:
    work = Work()
    await work.do("a", times=9, seconds=0.26)
    assert work.turns[0] == "aaaa"
    assert all(len(turn) <= 4 for turn in work.turns)


async def test_callers_take_turns() -> None:
    work = Work()
    a, others = work.do("a", times=5, seconds=2), [work.do("a", times=5, seconds=2) for _ in range(20)]
    b = asyncio.ensure_future(work.do("b", times=5, seconds=2))
    waiting = asyncio.gather(a, *others)
    await b
    assert "".join(work.turns).count("a") <= 12
    await waiting


async def test_however_long_each_takes_few_go_on_in_a_turn() -> None:
    work = Work()
    await asyncio.gather(*(work.do(name, times=3, seconds=0.001) for name in "abcdefghijklmnopqrstuvwxyz"))
    work.turns = [""]
    await asyncio.gather(*(work.do(name, times=3, seconds=2) for name in "abcdefghijklmnopqrstuvwxyz"))
    assert all(len(turn) <= 8 for turn in work.turns)
    assert all(len(turn) == 1 for turn in work.turns[10:] if turn)


async def test_what_else_a_turn_does_counts() -> None:
    work = Work()

    def others() -> None:
        work.clock.seconds += 5
        asyncio.get_running_loop().call_soon(others)

    others()
    await work.do("a", times=20, seconds=0.001)
    assert all(len(turn) <= 1 for turn in work.turns[1:])


async def test_who_leaves_takes_no_turn() -> None:
    work = Work()
    first, leaving, staying = [
        asyncio.ensure_future(work.do(name, times=1, seconds=2)) for name in ("a", "b", "c")
    ]
    await asyncio.sleep(0)
    assert first.done()
    leaving.cancel()
    await asyncio.wait_for(staying, 60)
    assert leaving.cancelled()
