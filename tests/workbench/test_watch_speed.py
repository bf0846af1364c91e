"""The watch view at full speed: nothing is missing, the page stays responsive, and memory is bounded.

`pytest -s` shows the figures of this machine.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import CDPSession, Page, expect

from ide_orchestrator.v1 import event_pb2
from tests.support.hub import a_workflow, start
from tests.workbench.driver import Workbench

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENTS = 2_259
#: Milliseconds of computing that one task of the page's main thread may take.
LONGEST_TASK_MS = 200
#: MiB of JavaScript objects of a page that has shown the run.
MAX_HEAP_MIB = 40


async def heap_mib(devtools: CDPSession) -> float:
    """What is in use after a garbage collection."""
    await devtools.send("HeapProfiler.collectGarbage")
    usage = await devtools.send("Runtime.getHeapUsage")
    return float(usage["usedSize"]) / (1 << 20)


def longest_task_ms(trace: bytes) -> float:
    """The most computing time of one task on the main thread of a page."""
    events: list[dict[str, Any]] = json.loads(trace)["traceEvents"]
    pages = {
        (each["pid"], each["tid"])
        for each in events
        if each["name"] == "thread_name" and each["args"]["name"] == "CrRendererMain"
    }
    tasks = [
        each["tdur"] / 1000
        for each in events
        if "tdur" in each and (each["pid"], each["tid"]) in pages and each["name"].endswith("RunTask")
    ]
    assert len(tasks) > 100, "the trace has no tasks"
    return max(tasks)


async def watch(bench: Workbench, page: Page, workflow: str) -> str:
    """Start the long run in the page, and watch it to its end. Returns its thread."""
    await page.goto(f"{bench.hub.http}/#/?workflow={workflow}")
    await page.get_by_label("What should change?").fill("[[replay:long_run]]")
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.locator(f'[data-seq="{EVENTS}"]')).to_be_visible()
    await expect(page.locator('[data-connection="ended"]')).to_be_visible()
    return page.url.rpartition("/")[2]


async def test_a_run_at_full_speed_is_shown_whole_by_short_tasks_in_bounded_memory(
    bench: Workbench, page: Page
) -> None:
    async with bench.hub.client() as client:
        workflow = await a_workflow(client)
    devtools = await page.context.new_cdp_session(page)
    await bench.browser.start_tracing(
        page=page, categories=["toplevel", "disabled-by-default-devtools.timeline", "devtools.timeline"]
    )
    thread = await watch(bench, page, workflow)
    longest = longest_task_ms(await bench.browser.stop_tracing())
    heap = await heap_mib(devtools)

    messages: dict[int, str] = {}
    tokens = 0
    async with bench.hub.client() as client:
        async for event in client.follow(thread):
            tokens += event.HasField("token")
            for change in event.state_update.messages:
                if change.message.role != event_pb2.MESSAGE_ROLE_TOOL:
                    messages[change.index] = change.message.text
    shown = await page.locator(".message:not(.draft)").evaluate_all(
        "(found) => found.map((each) => [...each.querySelectorAll(':scope > .text')]"
        ".map((text) => text.textContent).join(''))"
    )
    assert shown == [text for _, text in sorted(messages.items())]
    assert tokens > 2_200

    for _ in range(3):
        await watch(bench, page, workflow)
    later = await heap_mib(devtools)
    print(
        f"\n{EVENTS} events, {tokens} tokens: longest task {longest:.0f} ms of computing; "
        f"heap {heap:.1f} MiB, after three more runs {later:.1f} MiB"
    )
    assert longest < LONGEST_TASK_MS
    assert heap < MAX_HEAP_MIB
    assert later < heap + 10


async def test_the_first_event_is_on_the_page_soon_and_the_page_is_small(bench: Workbench) -> None:
    async with bench.hub.client() as client:
        run = await start(client, "[[replay:short_run]]")
    async with bench.window(f"/runs/{run['thread_id']}") as page:
        await expect(page.locator('[data-seq="52"]')).to_be_visible()
        # Once more, as a person opens a bookmark.
        await page.reload()
        await expect(page.locator('[data-seq="52"]')).to_be_visible()
        first_ms = await page.evaluate("performance.getEntriesByName('ideo first event')[0].startTime")
    async with bench.window(f"/runs/{run['thread_id']}") as page:
        await expect(page.locator('[data-seq="52"]')).to_be_visible()
        sent = await page.evaluate(
            "performance.getEntriesByType('resource').filter(({name}) => name.includes('/workbench/'))"
            ".map(({encodedBodySize}) => encodedBodySize)"
        )
    kib = sum(sent) / 1024
    print(f"\nthe watch view: {kib:.0f} KiB in {len(sent)} files; the first event after {first_ms:.0f} ms")
    assert 20 < kib < 150
