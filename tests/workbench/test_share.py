"""Several people and windows on one proposal, and share links."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.support.hub import finished, start
from tests.workbench.driver import Workbench

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def completed(bench: Workbench, prompt: str = "Add web search [[replay:short_run]]") -> dict[str, Any]:
    """The proposal of a run that has ended."""
    async with bench.hub.client() as client:
        return await finished(client, await start(client, prompt))


async def link_of(page: Page, *, after: str | None = None) -> str:
    """The address of a new link, made in the dialog of the page."""
    await page.get_by_role("button", name="Share …").click()
    if after is not None:
        await page.get_by_label("Events", exact=False).first.select_option(after)
    await page.get_by_role("button", name="Create a link").click()
    return await page.get_by_label("The link. It is shown only now.").input_value()


async def test_a_link_that_is_made_on_the_page_opens_for_somebody_without_a_token(
    bench: Workbench, page: Page
) -> None:
    proposal = await completed(bench)
    await page.goto(f"{bench.hub.http}/#/proposals/{proposal['id']}")
    address = await link_of(page)
    async with bench.window(token="") as other:
        await other.goto(address)
        await other.reload()
        await expect(other.get_by_text("Add web search")).to_be_visible()
        await expect(other.get_by_text("read only")).to_be_visible()
        await expect(other.get_by_text("Events 1 to 52, to the end")).to_be_visible()
        [path, *_] = sorted(proposal["generated_files"])
        await expect(other.get_by_role("treeitem", name=path.rpartition("/")[2])).to_be_visible()
        # The secret has left the address, and the tab still has it.
        await expect(other).not_to_have_url(re.compile("secret"))
        changing = re.compile("Accept|Reject|Cancel|Revoke|Share")
        await expect(other.get_by_role("button", name=changing)).to_have_count(0)


async def test_a_link_that_begins_at_a_cursor_shows_nothing_before_it(bench: Workbench) -> None:
    proposal = await completed(bench)
    async with bench.hub.client() as client:
        shares = f"/api/proposals/{proposal['id']}/shares"
        link = await client.call("POST", shares, {"after_seq": 40})
    async with bench.window(f"/share/{proposal['id']}?secret={link['secret']}", token="") as page:
        await expect(page.get_by_text("Events 41 to 52, to the end")).to_be_visible()
        lines = page.get_by_role("list", name="Events, newest last").get_by_role("listitem")
        await expect(lines.last).to_have_text(re.compile("^52 "))
        seqs = [int(text.split()[0]) for text in await lines.all_inner_texts()]
        assert min(seqs) == 41


async def test_a_revoked_link_says_so_and_asks_for_no_token(bench: Workbench, page: Page) -> None:
    proposal = await completed(bench)
    await page.goto(f"{bench.hub.http}/#/proposals/{proposal['id']}")
    address = await link_of(page)
    await page.get_by_role("button", name=re.compile("Revoke the link")).click()
    await expect(page.get_by_text("There is no valid link.")).to_be_visible()
    async with bench.window(token="") as other:
        await other.goto(address)
        await other.reload()
        await expect(other.get_by_text("The link has expired, or was revoked.")).to_be_visible()
        await expect(other.get_by_role("dialog")).to_be_hidden()
    assert all("401" in complaint for complaint in bench.complaints)
    bench.complaints.clear()


async def test_two_people_see_the_same_run_and_the_same_decision(bench: Workbench, page: Page) -> None:
    proposal = await completed(bench)
    async with bench.hub.client("bob@example.com") as bob:
        user_id = (await bob.call("GET", "/api/me"))["user_id"]
    await page.goto(f"{bench.hub.http}/#/proposals/{proposal['id']}")
    await page.get_by_role("button", name="Share …").click()
    await page.get_by_label("User id or e-mail").fill(user_id)
    await page.get_by_role("button", name="Grant access").click()
    await expect(page.get_by_role("button", name=re.compile("Revoke the access"))).to_be_visible()
    await page.get_by_role("button", name="Close").click()
    async with bench.window(
        f"/proposals/{proposal['id']}", token=bench.hub.token("bob@example.com")
    ) as other:
        await expect(other.get_by_role("heading", name="Review")).to_be_visible()
        async with bench.hub.client() as client:
            await client.call(
                "POST",
                f"/api/proposals/{proposal['id']}/reject",
                {"comment": "not now"},
                headers={"If-Match": f'"{proposal["etag"]}"'},
            )
        for window in (page, other):
            await expect(window.get_by_text("not now")).to_be_visible()


async def test_a_hub_without_controls_offers_only_what_the_page_can_do(bench: Workbench, page: Page) -> None:
    proposal = await completed(bench)
    await page.goto(f"{bench.hub.http}/#/inspector/{proposal['thread_id']}")
    await expect(page.get_by_text("52 events, each once and in order")).to_be_visible()
    await expect(page.get_by_text("With ideo dev the token can also expire")).to_be_visible()
    await expect(page.get_by_role("button", name="Restart the hub")).to_have_count(0)
