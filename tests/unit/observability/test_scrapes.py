"""How many scrapes collect, and that none gets figures from before its question."""

from __future__ import annotations

import asyncio

from server.observability.scrapes import PAUSE_S, SharedScrapes


class Collected:
    """Collections, which are counted, and pauses that end when the test says so."""

    def __init__(self) -> None:
        self.count = 0
        self.pauses: list[float] = []
        self.go_on = asyncio.Event()
        self.scrapes = SharedScrapes(self._collect, pause=self._pause)

    async def _collect(self) -> tuple[bytes, str]:
        self.count += 1
        return b"%d" % self.count, "text/plain"

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self.go_on.wait()

    async def scrape(self) -> int:
        return int((await self.scrapes.exposition())[0])


async def test_scrapes_that_come_soon_after_another_wait_for_the_next_and_share_it() -> None:
    collected = Collected()
    assert await collected.scrape() == 1
    soon = [asyncio.create_task(collected.scrape()) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert collected.count == 1
    assert len(collected.pauses) == 1
    assert 0 < collected.pauses[0] <= PAUSE_S
    collected.go_on.set()
    assert await asyncio.gather(*soon) == [2] * 50


async def test_a_client_that_leaves_takes_the_scrape_from_nobody() -> None:
    collected = Collected()
    await collected.scrape()
    leaving, staying = (asyncio.create_task(collected.scrape()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    collected.go_on.set()
    assert await staying == 2
