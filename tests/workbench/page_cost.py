"""What a page in Chromium costs: its longest task, and the memory of its JavaScript."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Browser, CDPSession, Page

_CATEGORIES = ["toplevel", "disabled-by-default-devtools.timeline", "devtools.timeline"]


async def heap_mib(devtools: CDPSession) -> float:
    """What is in use after a garbage collection."""
    await devtools.send("HeapProfiler.collectGarbage")
    usage = await devtools.send("Runtime.getHeapUsage")
    return float(usage["usedSize"]) / (1 << 20)


def _task_ms(trace: bytes) -> list[float]:
    """The computing time of each task on the main thread of a page."""
    events: list[dict[str, Any]] = json.loads(trace)["traceEvents"]
    pages = {
        (each["pid"], each["tid"])
        for each in events
        if each["name"] == "thread_name" and each["args"]["name"] == "CrRendererMain"
    }
    return [
        each["tdur"] / 1000
        for each in events
        if "tdur" in each and (each["pid"], each["tid"]) in pages and each["name"].endswith("RunTask")
    ]


@dataclass
class Cost:
    """What a run costs the page: the computing time of its longest task and of all together. heap_mib:
    afterwards."""

    longest_ms: float = 0.0
    all_ms: float = 0.0
    heap_mib: float = 0.0

    def __str__(self) -> str:
        return (
            f"longest task {self.longest_ms:.0f} ms of computing, all {self.all_ms:,.0f} ms, "
            f"heap {self.heap_mib:.1f} MiB"
        )


@asynccontextmanager
async def traced(browser: Browser, page: Page) -> AsyncIterator[Cost]:
    """The cost of what a page does meanwhile; known afterwards."""
    cost = Cost()
    await browser.start_tracing(page=page, categories=_CATEGORIES)
    try:
        yield cost
    finally:
        trace = await browser.stop_tracing()
    tasks = _task_ms(trace)
    assert len(tasks) > 100, "the trace has no tasks"
    cost.longest_ms, cost.all_ms = max(tasks), sum(tasks)
    cost.heap_mib = await heap_mib(await page.context.new_cdp_session(page))
