"""The watch view under load: nothing is missing, the page stays responsive, and memory is bounded.

`pytest -s` shows the figures of this machine.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from ide_orchestrator.v1 import event_pb2
from tests.support.hub import a_workflow, start
from tests.support.postgres import Postgres
from tests.support.recordings import link_shipped, write_frames
from tests.support.runtime import END, Answer, Runtime, Stream, files, serve_runtime, state_frame, token_frame
from tests.workbench.driver import Workbench, workbench
from tests.workbench.page_cost import Cost, heap_mib, traced

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Events of the recording `long_run`.
EVENTS = 2_259
#: What a runtime says: tokens a second, how long they come, and how many it sends together.
TOKENS_PER_S, SECONDS, TOGETHER = 2_000, 4, 20
WORDS = [f"word{number} " for number in range(TOKENS_PER_S * SECONDS)]
#: The recording `growing`: files in the end, and how many of them are new in each state.
FILES, FILES_PER_STATE = 500, 20
PATHS = [f"part{number % 25:02}/file{number:03}.md" for number in range(FILES)]
#: Milliseconds that a run takes at most, also on a machine that is busy with other things.
RUN_MS = 150_000
#: Milliseconds of computing that one task of the page's main thread may take.
LONGEST_TASK_MS = 200
#: MiB of JavaScript objects of a page that has shown a run.
MAX_HEAP_MIB = 40

#: The files that a tree shows while it is scrolled from its beginning to its end, in their order.
ALL_ROWS = """async tree => {
    const frame = () => new Promise(requestAnimationFrame);
    const found = new Map();
    let most = 0;
    for (let top = 0; top < tree.scrollHeight; top += tree.clientHeight) {
        tree.scrollTop = top;
        await frame();
        await frame();
        const rows = tree.querySelectorAll("[role=treeitem]:not([aria-expanded])");
        for (const row of rows) found.set(parseInt(row.style.top), row.title);
        most = Math.max(most, rows.length);
    }
    return { names: [...found].sort(([one], [other]) => one - other).map(([, name]) => name), most };
}"""


@pytest.fixture(scope="module")
def recordings(folder: Path) -> Path:
    """Shipped runs, and `growing`."""
    link_shipped(folder, "*_run")
    texts = {path: f"# {path}\n\n{path} has this line.\n" * 8 for path in PATHS}
    write_frames(
        folder,
        "growing",
        *(
            state_frame(files=files(**{path: texts[path] for path in PATHS[:count]}))
            for count in range(FILES_PER_STATE, FILES + 1, FILES_PER_STATE)
        ),
    )
    return folder


class TalkingRuntime(Runtime):
    """Says the words at their pace, the second half once the page shows some of the first."""

    def __init__(self) -> None:
        self.shown = asyncio.Event()
        self.over = False

    async def state(self, thread_id: str) -> Answer:
        return 200, {"status": "completed" if self.over else "running"}

    async def stream(self, stream: Stream) -> None:
        await stream.accept()
        for number, word in enumerate(WORDS):
            if number == len(WORDS) // 2:
                await self.shown.wait()
            if number % TOGETHER == 0:
                await asyncio.sleep(TOGETHER / TOKENS_PER_S)
            await stream.send(json.dumps(token_frame(word)).encode())
        self.over = True
        await stream.send(json.dumps(END).encode())


@asynccontextmanager
async def measured(bench: Workbench, page: Page) -> AsyncIterator[Cost]:
    """The cost of what a page does meanwhile, which is within the bounds."""
    async with traced(bench.browser, page) as cost:
        yield cost
    assert cost.longest_ms < LONGEST_TASK_MS
    assert cost.heap_mib < MAX_HEAP_MIB


async def begin(bench: Workbench, page: Page, prompt: str, workflow: str | None = None) -> None:
    """Start a run in the page."""
    if workflow is None:
        async with bench.hub.client() as client:
            workflow = await a_workflow(client)
    await page.goto(f"{bench.hub.http}/#/?workflow={workflow}")
    await page.get_by_label("What should change?").fill(prompt)
    await page.get_by_role("button", name="Start", exact=True).click()


async def watch(bench: Workbench, page: Page, directive: str, workflow: str | None = None) -> str:
    """Start a recorded run in the page, and watch it to its end. Returns its thread."""
    await begin(bench, page, f"[[replay:{directive}]]", workflow)
    return await end_of(page)


async def end_of(page: Page) -> str:
    """Watch the run that the page shows to its end. Returns its thread."""
    await expect(page.locator('[data-connection="ended"]')).to_be_visible(timeout=RUN_MS)
    return page.url.rpartition("/")[2]


async def stored(bench: Workbench, page: Page, thread: str) -> list[event_pb2.Event]:
    """The events of a run, the last of which the page has shown."""
    async with bench.hub.client() as client:
        found = [event async for event in client.follow(thread)]
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    await expect(page.locator(f'[data-seq="{len(found)}"]')).to_be_visible()
    return found


async def test_a_run_at_full_speed_is_shown_whole_by_short_tasks_in_bounded_memory(
    bench: Workbench, page: Page
) -> None:
    async with bench.hub.client() as client:
        workflow = await a_workflow(client)
    async with measured(bench, page) as cost:
        thread = await watch(bench, page, "long_run", workflow)

    messages: dict[int, str] = {}
    tokens = 0
    events = await stored(bench, page, thread)
    assert len(events) == EVENTS
    for event in events:
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
        await watch(bench, page, "long_run", workflow)
    later = await heap_mib(await page.context.new_cdp_session(page))
    print(f"\n{EVENTS} events, {tokens} tokens: {cost}, after three more runs {later:.1f} MiB")
    assert later < cost.heap_mib + 10


@pytest.mark.timeout(300)
async def test_2000_tokens_a_second_are_shown_in_order_as_they_come_by_short_tasks_in_bounded_memory(
    postgres: Postgres,
) -> None:
    runtime = TalkingRuntime()
    async with (
        serve_runtime(runtime) as url,
        postgres.fresh(migrated=True) as dsn,
        workbench(dsn, runtime_url=url) as bench,
        bench.window() as page,
    ):
        async with measured(bench, page) as cost:
            await begin(bench, page, "say it")
            # The page shows them as they come, and not when all are there: the rest is not said before.
            read = "Number(document.querySelector('[data-seq]')?.dataset.seq) > 1"
            await page.wait_for_function(f"() => {read}")
            runtime.shown.set()
            thread = await end_of(page)
        # All that was said is one message, of which the page shows the end at first.
        show_all = page.get_by_role("button", name=re.compile("Show all"))
        await show_all.click()
        await expect(show_all).to_have_count(0)
        assert await page.locator(".message.draft .text").text_content() == "".join(WORDS)
        events = await stored(bench, page, thread)
        assert [event.token.text for event in events if event.HasField("token")] == WORDS
        first, last = await page.evaluate(
            "['ideo first event', 'ideo last event']"
            ".map(name => performance.getEntriesByName(name)[0].startTime)"
        )
    seconds = (last - first) / 1000
    print(f"\n{len(WORDS) / seconds:,.0f} tokens a second for {seconds:.1f} s: {cost}")


async def test_a_run_with_500_files_is_shown_whole_by_short_tasks_in_bounded_memory(
    bench: Workbench, page: Page
) -> None:
    async with measured(bench, page) as cost:
        thread = await watch(bench, page, "growing")
        await expect(page.get_by_role("heading", name=f"Files {FILES}")).to_be_visible()
        tree = page.get_by_role("tree", name="Files of the run").locator("..")
        rows = await tree.evaluate(ALL_ROWS)
        await tree.get_by_role("treeitem", name="file499.md").click()
        await expect(page.get_by_label(f"/{PATHS[-1]}", exact=True)).to_contain_text("has this line")
    assert rows["names"] == [f"/{path}" for path in sorted(PATHS)]
    events = await stored(bench, page, thread)
    written = [change.path for event in events for change in event.state_update.files]
    # Each file once: a state has all files, and an event those that changed.
    assert sorted(written) == sorted(f"/{path}" for path in PATHS)
    states = FILES // FILES_PER_STATE
    print(f"\n{FILES} files in {states} states: {cost}, at most {rows['most']} of them on the page")
    assert rows["most"] < 60


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
