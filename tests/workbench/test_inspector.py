"""The inspector: what arrives over each transport, and that a disrupted one loses and repeats nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.support.development import development_hub
from tests.support.hand_clock import PATIENCE_S
from tests.support.hub import RunningHub, finished, start
from tests.support.postgres import Postgres
from tests.support.recordings import link_shipped, write_recording
from tests.workbench.driver import DEFAULTS, PATIENCE_MS, Workbench, browser_at

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Bytes of each version of a large file.
LARGE = 200_000
#: A run that has sent something and then waits, for as long as a test needs.
HELD = "[[replay:short_run silent=20]]"
TRANSPORTS = ["ws-json", "ws-binary", "sse", "connect", "durable"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(postgres: Postgres, folder: Path) -> AsyncIterator[Workbench]:
    """A hub that callers may restart, which soon gives a slow reader up."""
    link_shipped(folder)
    # More than the buffers between the hub and a page hold.
    write_recording(folder, "large", *({"/large.txt": chr(97 + at) * LARGE} for at in range(24)))
    async with (
        postgres.fresh(migrated=True) as dsn,
        development_hub(dsn, recordings=folder, **DEFAULTS, send_deadline_s=1.0) as hub,
        browser_at(RunningHub(hub, "")) as opened,  # type: ignore[arg-type]
    ):
        yield opened


async def run(bench: Workbench, prompt: str, *, ended: bool = False) -> str:
    """The thread of a run, which is under way or has ended."""
    async with bench.hub.client() as client:
        started = await start(client, prompt)
        if ended:
            await finished(client, started)
    return str(started["thread_id"])


async def end(bench: Workbench, thread: str) -> int:
    """Cancel a run; the number of its events."""
    async with bench.hub.client() as client:
        await client.call("POST", f"/api/refinements/{thread}/cancel")
        async with asyncio.timeout(PATIENCE_S):
            while (found := await client.call("GET", f"/api/refinements/{thread}"))["status"] != "cancelled":
                await asyncio.sleep(0.05)
    return int(found["last_seq"])


def in_order(events: int, connections: str) -> re.Pattern[str]:
    return re.compile(rf"{events} events, each once and in order, over {connections}")


#: A page that a busy machine keeps from reading is given up, too, and connects again.
ANY = r"(one connection|\d+ connections)"


async def inspect(stack: AsyncExitStack, bench: Workbench, thread: str, transport: str) -> Page:
    return await stack.enter_async_context(bench.window(f"/inspector/{thread}?transport={transport}"))


async def has_events(page: Page, least: int = 10) -> None:
    await page.wait_for_function(
        f"() => Number(/cursor (\\d+)/.exec(document.body.innerText)?.[1]) >= {least}"
    )


async def test_each_transport_shows_every_event_of_a_run(bench: Workbench, page: Page) -> None:
    thread = await run(bench, "[[replay:short_run]]", ended=True)
    await page.goto(f"{bench.hub.http}/#/inspector/{thread}")
    for transport in TRANSPORTS:
        await page.get_by_label("Transport").select_option(transport)
        await expect(page.get_by_text(in_order(52, "one connection"))).to_be_visible()
        rows = page.get_by_role("grid", name="Events").get_by_role("row")
        await expect(rows.last).to_contain_text("52")
        await expect(rows.last).to_contain_text("terminal")
        await expect(page).to_have_url(re.compile(rf"transport={transport}\b"))


async def test_a_cut_connection_is_opened_again_at_the_cursor_over_each_transport(bench: Workbench) -> None:
    thread = await run(bench, HELD)
    async with AsyncExitStack() as stack:
        pages = [await inspect(stack, bench, thread, transport) for transport in TRANSPORTS]
        for page in pages:
            await has_events(page)
            await page.get_by_role("button", name="Cut the connection").click()
            await expect(page.get_by_text("over 2 connections")).to_be_visible()
        events = await end(bench, thread)
        for page in pages:
            await expect(page.get_by_text(in_order(events, "2 connections"))).to_be_visible()
            connections = page.get_by_role("list", name="Connections").get_by_role("listitem")
            await expect(connections.nth(1)).to_contain_text("cut by you")
            [last] = re.findall(r"to (\d+)", await connections.nth(1).inner_text())
            await expect(connections.nth(0)).to_contain_text(f"after {last}")
            await expect(connections.nth(0)).to_contain_text(f"events {int(last) + 1} to {events}")


async def test_followers_go_on_after_a_restart_of_the_hub(bench: Workbench) -> None:
    thread = await run(bench, HELD)
    async with AsyncExitStack() as stack:
        pages = [
            await inspect(stack, bench, thread, each) for each in ("ws-json", "sse", "connect", "durable")
        ]
        for page in pages:
            await has_events(page)
        await pages[0].get_by_role("button", name="Restart the hub").click()
        await expect(pages[0].get_by_text("closed with 1012")).to_be_visible()
        for page in pages:
            await expect(page.get_by_text("connected", exact=True)).to_be_visible()
        events = await end(bench, thread)
        for page in pages:
            await expect(page.get_by_text(in_order(events, r"\d+ connections"))).to_be_visible()
    # While the hub is away, the browser says that it cannot be reached; while it stops, that it refuses.
    expected = re.compile("ERR_|WebSocket|503")
    assert all(map(expected.search, bench.complaints)), bench.complaints
    bench.complaints.clear()


async def test_a_stream_whose_token_expires_goes_on_with_the_persons_own(bench: Workbench) -> None:
    thread = await run(bench, HELD)
    ends = {"ws-binary": "closed with 4401", "sse": "refused with 401", "connect": "unauthenticated"}
    async with AsyncExitStack() as stack:
        pages = {each: await inspect(stack, bench, thread, each) for each in ends}
        for page in pages.values():
            await has_events(page)
            await page.get_by_role("button", name="Let the token expire").click()
        for transport, page in pages.items():
            ended = page.get_by_text(ends[transport])
            for _ in range(3):
                with suppress(AssertionError):
                    await expect(ended).to_be_visible(timeout=PATIENCE_MS / 3)
                    break
                # On a busy machine the token may have ended before the page connected with it.
                await page.get_by_role("button", name="Let the token expire").click()
            await expect(ended).to_be_visible()
            await expect(page.get_by_text("The token in use ends at")).to_be_hidden()
        events = await end(bench, thread)
        for page in pages.values():
            await expect(page.get_by_text(in_order(events, r"\d+ connections"))).to_be_visible()
    # The browser reports each answer with 401.
    assert all("401" in complaint for complaint in bench.complaints)
    bench.complaints.clear()


async def test_a_reader_that_is_too_slow_is_ended_by_the_hub_and_goes_on(
    bench: Workbench, page: Page
) -> None:
    thread = await run(bench, "[[replay:large]]", ended=True)
    await page.goto(f"{bench.hub.http}/#/inspector/{thread}?transport=sse")
    await expect(page.get_by_text(in_order(26, ANY))).to_be_visible()
    pace = page.get_by_role("combobox", name="Read")
    await pace.select_option("not at all")
    # The next stream is read at that pace from its beginning.
    await page.get_by_label("Transport").select_option("ws-json")

    async def given_up() -> bool:
        async with httpx.AsyncClient(base_url=bench.hub.http, trust_env=False, timeout=60) as http:
            text = (await http.get("/metrics")).text
        return bool(re.search(r'slow_readers_closed_total\{transport="websocket"\} [1-9]', text))

    async with asyncio.timeout(PATIENCE_S):
        while not await given_up():
            await asyncio.sleep(0.1)
    await pace.select_option("at full speed")
    await expect(page.get_by_text(in_order(26, r"\d+ connections"))).to_be_visible()


async def test_an_event_is_chosen_by_keyboard_and_shown_as_json(bench: Workbench, page: Page) -> None:
    thread = await run(bench, "[[replay:short_run]]", ended=True)
    await page.goto(f"{bench.hub.http}/#/inspector/{thread}")
    await expect(page.get_by_text(in_order(52, "one connection"))).to_be_visible()
    rows = page.get_by_role("rowgroup")
    await rows.focus()
    await rows.press("Home")
    await expect(page.get_by_label("Event 1 as JSON")).to_contain_text('"run_started"')
    await rows.press("End")
    await expect(page.get_by_label("Event 52 as JSON")).to_contain_text('"terminal"')
