"""Looking back in the workbench: a draft's versions, and a run's files after any of its events."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.workbench.driver import PATIENCE_MS, Workbench
from tests.workbench.reviewed import MOVED, NOTES, a_proposal, draft_texts, write_draft, write_recordings

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def recordings(folder: Path) -> Path:
    """The reviewed runs."""
    return write_recordings(folder)


async def go(page: Page, path: str) -> None:
    await page.evaluate("path => { location.hash = path }", path)


async def test_any_two_versions_are_compared_and_an_earlier_one_is_restored(
    bench: Workbench, page: Page
) -> None:
    async with bench.hub.client() as client:
        proposal = await a_proposal(client, "edits")
        await write_draft(client, proposal, {"/notes.md": MOVED})
        await write_draft(client, proposal, {"/more.md": "more\n"})
    await go(page, f"/drafts/{proposal['workflow_id']}")
    await expect(page.get_by_role("treeitem", name="more.md")).to_contain_text("added")
    await expect(page.get_by_role("treeitem", name="notes.md")).to_have_count(0)
    await page.get_by_role("combobox", name="Compare version 3 with").select_option("1")
    await page.get_by_role("treeitem", name="notes.md").click()
    await expect(page.locator(".cm-deletedLine", has_text="line 3 of")).to_be_visible()
    await expect(page.locator(".cm-changedLine", has_text="line THREE of")).to_be_visible()
    await page.get_by_role("button", name="Restore version 1").click()
    await page.get_by_role("button", name="Restore", exact=True).click()
    await expect(page.get_by_role("button", name="Version 4")).to_have_attribute("aria-current", "true")
    await expect(page.get_by_text("restored version 1")).to_be_visible()
    await expect(page.get_by_role("treeitem", name="more.md")).to_contain_text("deleted")
    async with bench.hub.client() as client:
        assert await draft_texts(client, proposal) == {"/notes.md": NOTES}


async def test_a_restore_that_comes_too_late_says_so_and_changes_nothing(
    bench: Workbench, page: Page
) -> None:
    async with bench.hub.client() as client:
        proposal = await a_proposal(client, "edits")
        await write_draft(client, proposal, {"/notes.md": MOVED})
    await go(page, f"/drafts/{proposal['workflow_id']}")
    await page.get_by_role("button", name="Restore version 1").click()
    async with bench.hub.client() as client:
        await write_draft(client, proposal, {"/more.md": "more\n"})
    await page.get_by_role("button", name="Restore", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("etag_mismatch")
    bench.complaints.clear()
    async with bench.hub.client() as client:
        assert (await draft_texts(client, proposal))["/notes.md"] == MOVED


async def test_the_slider_shows_tree_text_and_blame_after_any_event(bench: Workbench, page: Page) -> None:
    async with bench.hub.client() as client:
        proposal = await a_proposal(client, "edits")
        changes = [
            event.seq async for event in client.follow(proposal["thread_id"]) if event.state_update.files
        ]
    first, second = changes
    await go(page, f"/runs/{proposal['thread_id']}/history")
    await page.get_by_role("treeitem", name="notes.md").click()
    tree = page.get_by_role("tree")
    await expect(tree).to_have_accessible_name(f"Files after event {second + 1}")
    await expect(page.get_by_role("treeitem", name="agent.py")).to_be_visible()
    await expect(page.locator(".cm-line", has_text="line three of")).to_be_visible()
    # The margin has the event of each run of lines: the first one wrote all but what the second one changed.
    margin = page.locator(".blame-margin")
    await expect(margin).to_contain_text(str(first))
    tip = page.locator(".blame-tip")
    for _ in range(6):
        # An editor that draws its lines again meanwhile forgets the pointer until it moves.
        await page.mouse.move(0, 0)
        await page.locator(".cm-line", has_text="line three of").hover(position={"x": 40, "y": 8})
        with suppress(AssertionError):
            await expect(tip).to_be_visible(timeout=PATIENCE_MS / 6)
            break
    await expect(tip).to_contain_text(f"event {second}")
    await expect(page.locator(".same-event", has_text="line three of")).to_be_visible()
    await page.locator(".cm-line", has_text="line 4 of").click()
    await expect(page.get_by_role("status").filter(has_text="Line 4")).to_contain_text(f"event {first}")
    # One event back, the other file is not there yet.
    slider = page.get_by_role("slider", name="Event")
    await slider.fill(str(second - 1))
    await expect(tree).to_have_accessible_name(f"Files after event {second - 1}")
    await expect(page.get_by_role("treeitem", name="agent.py")).to_have_count(0)
    await expect(page.locator(".cm-line", has_text="line 3a of")).to_be_visible()
    await page.get_by_role("button", name="Next change").click()
    await expect(slider).to_have_value(str(second))
    await page.get_by_role("button", name=f"What event {second} changed").click()
    await expect(page.locator(".cm-deletedLine", has_text="line 3a of")).to_be_visible()
    # The address leads to the same event and file.
    await page.wait_for_url(f"**seq={second}&path=%2Fnotes.md")
    await page.reload()
    await expect(page.get_by_role("spinbutton", name="Event")).to_have_value(str(second))
    await expect(page.get_by_role("treeitem", name="notes.md")).to_have_attribute("aria-selected", "true")
