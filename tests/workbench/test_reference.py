"""The reference of the interfaces: every call is described, and its example runs."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from server.http.routes import ROUTES
from tests.support.hub import finished, start
from tests.workbench.driver import Workbench

pytestmark = pytest.mark.asyncio(loop_scope="module")


#: Opens one link after another; the title of each page that has a form.
VISITED = """async links => {
    const titles = [];
    for (const link of links) {
        location.hash = link;
        const chosen = () => document.querySelector('[aria-current="true"]')?.getAttribute("href");
        while (chosen() !== link) await new Promise(requestAnimationFrame);
        if (document.querySelectorAll("form.example").length === 1)
            titles.push(document.querySelector("article h2").innerText);
    }
    return titles;
}"""


async def opened(bench: Workbench, page: Page, part: str, name: str = "") -> None:
    await page.goto(f"{bench.hub.http}/#/api?part={part}&name={name}")
    # Until then the page shows the call before, whose form looks alike.
    tab = page.get_by_role("navigation", name="Interfaces").locator("[aria-current=page]")
    await expect(tab).to_have_attribute("href", f"#/api?part={part}")
    if name:
        call = page.get_by_role("navigation", name="Calls").locator("[aria-current=true]")
        await expect(call).to_have_attribute("href", f"#/api?part={part}&name={name}")


async def has_its_ids(page: Page) -> None:
    """Until what the caller has is read, the browser asks for the ids that are missing and sends nothing."""
    await expect(page.get_by_role("form", name="Example")).to_be_visible()
    await expect(page.locator("form.example:invalid")).to_have_count(0)


async def test_every_route_and_every_method_has_a_page(bench: Workbench, page: Page) -> None:
    await opened(bench, page, "http")
    described = page.get_by_role("navigation", name="Calls").get_by_role("link")
    await expect(described.first).to_be_visible()
    routes = {each.operation_id for each in ROUTES if each.include_in_schema is not False}
    links = await described.evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert routes <= {link.rpartition("name=")[2] for link in links}
    await opened(bench, page, "rpc")
    await expect(page.get_by_role("heading", name="RefinementService", exact=True)).to_be_visible()
    links += await described.evaluate_all("links => links.map(link => link.getAttribute('href'))")
    headings = await page.evaluate(VISITED, links)
    assert len(set(headings)) == len(links)
    assert len(links) > 60


async def test_the_examples_of_http_run_with_what_the_caller_has(bench: Workbench, page: Page) -> None:
    async with bench.hub.client() as client:
        proposal = await finished(client, await start(client, "[[replay:short_run]]"))
    for name in (
        "listWorkflows",
        "getProposal",
        "getRefinement",
        "listEvents",
        "diffProposal",
        "getServerInfo",
    ):
        await opened(bench, page, "http", name)
        await has_its_ids(page)
        await page.get_by_role("button", name="Send").click()
        await expect(page.get_by_role("heading", name="200 OK")).to_be_visible()
        await opened(bench, page, "websocket")
    await opened(bench, page, "http", "getProposal")
    await has_its_ids(page)
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_label("The body of the answer")).to_contain_text(proposal["id"])


async def test_the_example_of_the_websocket_shows_its_messages(bench: Workbench, page: Page) -> None:
    async with bench.hub.client() as client:
        await finished(client, await start(client, "[[replay:short_run]]"))
    await opened(bench, page, "websocket")
    await has_its_ids(page)
    for protocol, expected in (("ideo.v1", "hello"), ("ideo.v1.proto", "bytes:"), ("ideo.legacy", "on_")):
        await page.get_by_label("Subprotocol").select_option(protocol)
        await page.get_by_role("button", name="Connect").click()
        await expect(page.get_by_text("Closed with 10")).to_be_visible()
        await expect(page.get_by_label("Message 1", exact=True)).to_contain_text(expected)


async def test_the_examples_of_methods_run_also_those_with_a_stream(bench: Workbench, page: Page) -> None:
    async with bench.hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        await finished(client, started)
    await opened(bench, page, "rpc", "InfoService.GetServerInfo")
    await page.get_by_role("button", name="Call").click()
    await expect(page.get_by_label("The body of the answer")).to_contain_text("server_version")
    await opened(bench, page, "rpc", "RefinementService.WatchRefinement")
    await expect(page.get_by_label("Request")).to_have_value(
        f'{{\n  "thread_id": "{started["thread_id"]}"\n}}'
    )
    await page.get_by_role("button", name="Call").click()
    await expect(page.get_by_text("the end:")).to_be_visible()
