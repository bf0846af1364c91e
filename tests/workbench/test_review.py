"""Reviews in the workbench: decisions by file and hunk, conflicts, unsafe names, and the answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.workbench.driver import PATIENCE_MS, Workbench, read_until, tab_to
from tests.workbench.reviewed import (
    CHANGED,
    MANY,
    MOVED,
    NEAR,
    NOTES,
    a_proposal,
    draft_texts,
    many_files,
    write_draft,
    write_recordings,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def recordings(folder: Path) -> Path:
    """The reviewed runs."""
    return write_recordings(folder)


async def proposed(bench: Workbench, recording: str) -> dict[str, Any]:
    """The finished proposal of a recorded run."""
    async with bench.hub.client() as client:
        return await a_proposal(client, recording)


async def review(page: Page, proposal: dict[str, Any], file: str = "notes.md") -> None:
    """Open a proposal's review at one of its files."""
    await page.evaluate("path => { location.hash = path }", f"/proposals/{proposal['id']}")
    await page.get_by_role("treeitem", name=file).click()


def hunk(page: Page, number: int) -> Locator:
    """The bar of a hunk, counted from 1."""
    return page.get_by_role("group", name=f"Hunk {number} of")


async def accept(page: Page) -> None:
    await page.get_by_role("button", name="Accept …").click()
    await page.get_by_role("button", name="Accept into the draft").click()
    await expect(page.get_by_text("Accepted on")).to_be_visible()


async def test_a_hunk_that_is_rejected_stays_out_when_the_rest_is_accepted(
    bench: Workbench, page: Page
) -> None:
    proposal = await proposed(bench, "edits")
    await review(page, proposal)
    await hunk(page, 2).get_by_role("button", name="Reject hunk").click()
    await expect(hunk(page, 2)).to_contain_text("rejected")
    await expect(page.get_by_role("treeitem", name="notes.md")).to_contain_text("partly accepted")
    await page.get_by_role("button", name="Accept …").click()
    await expect(
        page.get_by_text("Accepting makes version 2 of the draft, with 2 changed files")
    ).to_be_visible()
    await page.get_by_role("textbox", name="Comment").fill("without the second hunk")
    await page.get_by_role("button", name="Accept into the draft").click()
    await expect(page.get_by_text("without the second hunk")).to_be_visible()
    await expect(page.get_by_role("button", name="Accept …")).to_have_count(0)
    async with bench.hub.client() as client:
        texts = await draft_texts(client, proposal)
    kept = CHANGED.replace("line 29 of the notes\n", "line 29 of the notes\nline 30 of the notes\n")
    assert texts == {"/notes.md": kept, "/src/agent.py": "print('hello')\n"}


async def test_keys_go_from_hunk_to_hunk_and_decide(bench: Workbench, page: Page) -> None:
    proposal = await proposed(bench, "edits")
    await review(page, proposal)
    await expect(hunk(page, 1)).to_be_visible()
    await page.keyboard.press("j")
    await expect(hunk(page, 1)).to_be_focused()
    await page.keyboard.press("j")
    await expect(hunk(page, 2)).to_be_focused()
    await page.keyboard.press("x")
    await expect(hunk(page, 2)).to_contain_text("rejected")
    await expect(hunk(page, 2)).to_be_focused()
    await page.keyboard.press("p")
    await expect(page.get_by_role("heading", name="/src/agent.py")).to_be_focused()
    await page.keyboard.press("X")
    await expect(page.get_by_role("treeitem", name="agent.py")).to_contain_text("rejected")


async def test_side_by_side_equal_lines_stand_at_the_same_height(bench: Workbench, page: Page) -> None:
    proposal = await proposed(bench, "edits")
    await review(page, proposal)
    await page.get_by_role("button", name="Side by side").click()
    for text in ("line 5 of the notes", "line 33 of the notes", "line 52 of the notes"):
        line = page.locator(".cm-line").filter(has_text=text)
        await expect(line).to_have_count(2)
        await expect_same_height(line)


async def expect_same_height(lines: Locator) -> None:
    """The editors measure their lines after they are painted, and may draw them again."""

    async def level() -> bool:
        one, other = await lines.evaluate_all(
            "lines => lines.map(line => line.getBoundingClientRect().top)"
        ) or [0, 9]
        return abs(one - other) < 2

    await read_until(lines.page, level, True)


#: What an editor shows, from top to bottom: lines, bars and removed lines by their texts.
SHOWN = """content => [...content.children].map(each =>
    each.matches(".hunk-bar") ? each.querySelector(".hunk-place").textContent.split(" · ")[0]
    : each.matches(".cm-deletedChunk") ? `- ${each.textContent}`
    : each.matches(".cm-changedLine") ? `+ ${each.textContent}` : each.textContent)"""


async def test_hunks_with_one_empty_line_in_between_are_two_with_decisions_of_their_own(
    bench: Workbench, page: Page
) -> None:
    async with bench.hub.client() as client:
        proposal = await a_proposal(client, "near", {"/notes.md": NEAR})
    await review(page, proposal)
    await expect(hunk(page, 2)).to_be_visible()
    content = page.locator(".diff .cm-content")
    expected = [
        "# Notes",
        "",
        "Hunk 1 of 2",
        "- first",
        "+ first, as it is now",
        "",
        "Hunk 2 of 2",
        "- second",
        "+ second, as it is now",
        "",
        "last",
        "",
    ]
    await read_until(page, lambda: content.evaluate(SHOWN), expected)
    await hunk(page, 2).get_by_role("button", name="Reject hunk").click()
    await expect(hunk(page, 2)).to_contain_text("rejected")
    await expect(hunk(page, 1)).to_contain_text("accepted by default")
    await page.get_by_role("button", name="Side by side").click()
    for side, changed in (("a", ["first", "second"]), ("b", ["first, as it is now", "second, as it is now"])):
        lines = page.locator(f".cm-merge-{side} .cm-changedLine")
        await expect(lines).to_have_text(changed)
    await expect_same_height(page.locator(".cm-line", has_text="second"))


async def test_unchanged_lines_are_opened_by_keyboard(bench: Workbench, page: Page) -> None:
    proposal = await proposed(bench, "edits")
    await review(page, proposal)
    rows = page.get_by_role("button", name="unchanged lines")
    await expect(rows.first).to_have_text("Show 20 unchanged lines")
    await expect(rows).to_have_count(3)
    hidden = page.locator(".cm-line", has_text="line 15 of the notes")
    await expect(hidden).to_have_count(0)
    await tab_to(page, rows.first)
    await page.keyboard.press("Enter")
    await expect(hidden).to_be_visible()
    await expect(rows).to_have_count(2)
    # The keyboard goes on where the row was.
    await expect(page.locator(".cm-content")).to_be_focused()


async def test_a_conflict_is_resolved_place_by_place_and_by_hand(bench: Workbench, page: Page) -> None:
    proposal = await proposed(bench, "edits")
    async with bench.hub.client() as client:
        await write_draft(client, proposal, {"/notes.md": MOVED})
    await review(page, proposal)
    await expect(page.get_by_text("draft has changed")).to_be_visible()
    await page.get_by_role("button", name="Accept …").click()
    await expect(page.get_by_text("1 file is in conflict")).to_be_visible()
    panes = [page.get_by_role("region", name=name) for name in ("Draft: ", "Base: ", "Proposal: ")]
    for pane, line in zip(panes, ("line THREE", "line 3 ", "line three"), strict=True):
        await expect(pane.locator(".conflict-line")).to_contain_text(line)
    step = page.get_by_role("button", name="Accept into the draft")
    await expect(step).to_be_disabled()
    await (
        page.get_by_role("group", name="Conflict 1 of 1")
        .get_by_role("button", name="Proposal", exact=True)
        .click()
    )
    await expect(step).to_be_enabled()
    resolved = page.get_by_role("textbox", name="/notes.md, resolved text")
    await resolved.locator(".cm-line", has_text="line three of").click()
    await page.keyboard.press("End")
    await page.keyboard.type("!")
    # To undo the choice makes the place open again.
    await page.keyboard.press("Control+z")
    await page.keyboard.press("Control+z")
    await expect(step).to_be_disabled()
    await page.keyboard.press("Control+y")
    await page.keyboard.press("Control+y")
    await step.click()
    await expect(page.get_by_text("Accepted on")).to_be_visible()
    async with bench.hub.client() as client:
        texts = await draft_texts(client, proposal)
    # What the draft changed elsewhere, and what the proposal did, are both there.
    expected = CHANGED.replace("line 20 of", "line TWENTY of").replace(
        "line three of the notes", "line three of the notes!"
    )
    assert texts["/notes.md"] == expected


async def test_an_unsafe_file_comes_in_under_the_new_path_that_it_is_given(
    bench: Workbench, page: Page
) -> None:
    proposal = await proposed(bench, "unsafe")
    await review(page, proposal, "evil.md")
    await expect(page.get_by_text("Unsafe: dot segment")).to_be_visible()
    await page.get_by_role("textbox", name="New path").fill("/../still.md")
    await page.get_by_role("button", name="Accept under this path").click()
    await expect(page.get_by_role("alert")).to_contain_text("dot_segment")
    await page.get_by_role("textbox", name="New path").fill("/safe.md")
    await page.get_by_role("button", name="Accept under this path").click()
    await expect(page.get_by_text("Accepted as /safe.md.")).to_be_visible()
    # A device's name is refused by the dry run, which leads to the file.
    await page.get_by_role("button", name="Accept …").click()
    await page.get_by_role("button", name="Give con.md another path").click()
    await expect(page.get_by_text("Not for every system: device name")).to_be_visible()
    await page.get_by_role("button", name="Reject file").click()
    await expect(page.get_by_role("treeitem", name="con.md")).to_contain_text("rejected")
    await accept(page)
    async with bench.hub.client() as client:
        texts = await draft_texts(client, proposal)
    assert texts == {"/notes.md": NOTES, "/good.md": "good\n", "/safe.md": "evil\n"}
    # The two refusals, which the browser notes.
    assert [complaint for complaint in bench.complaints if "422" not in complaint] == []
    bench.complaints.clear()


async def test_two_unsafe_files_that_are_shown_with_one_path_are_decided_one_by_one(
    bench: Workbench, page: Page
) -> None:
    proposal = await proposed(bench, "alike")
    await page.evaluate("path => { location.hash = path }", f"/proposals/{proposal['id']}")
    rows = page.get_by_role("treeitem", name="s\ufffd.md")
    for row, path in ((1, "/second.md"), (0, "/first.md")):
        await rows.nth(row).click()
        await page.get_by_role("textbox", name="New path").fill(path)
        await page.get_by_role("button", name="Accept under this path").click()
        await expect(page.get_by_text(f"Accepted as {path}.")).to_be_visible()
        await expect(rows.nth(row)).to_contain_text("accepted")
    await accept(page)
    async with bench.hub.client() as client:
        texts = await draft_texts(client, proposal)
    assert texts == {"/notes.md": NOTES, "/first.md": "alike\n", "/second.md": "alike\n"}


async def test_a_proposal_is_revised_and_its_rounds_lead_to_each_other(bench: Workbench, page: Page) -> None:
    proposal = await proposed(bench, "edits")
    await review(page, proposal)
    await page.get_by_role("button", name="Reject file").click()
    await expect(page.get_by_role("treeitem", name="notes.md")).to_contain_text("rejected")
    await page.get_by_role("button", name="Revise …").click()
    await page.get_by_role("textbox", name="What should be better").fill("shorter [[replay:edits]]")
    await page.get_by_role("button", name="Start the round").click()
    await page.wait_for_url("**/#/runs/*")
    await review(page, proposal)
    await page.get_by_role("navigation", name="Rounds").get_by_role("link", name="Round 2").click()
    await expect(page.get_by_role("link", name="Round 2")).to_have_attribute("aria-current", "page")
    # The decisions were kept: the same file is there again.
    await expect(page.get_by_role("treeitem", name="notes.md")).to_contain_text("rejected")


async def test_a_proposal_is_rejected_with_a_comment(bench: Workbench, page: Page) -> None:
    proposal = await proposed(bench, "short_run")
    await review(page, proposal, "definition.json")
    await page.get_by_role("button", name="Reject …").click()
    await page.get_by_role("textbox", name="Comment").fill("not what I meant")
    await page.get_by_role("button", name="Reject", exact=True).click()
    await expect(page.get_by_text("“not what I meant”")).to_be_visible()
    async with bench.hub.client() as client:
        decided = await client.call("GET", f"/api/proposals/{proposal['id']}?view=basic")
    assert (decided["resolution"], decided["resolution_comment"]) == ("rejected", "not what I meant")


async def test_what_somebody_else_decides_is_shown_and_does_not_get_lost(
    bench: Workbench, page: Page
) -> None:
    proposal = await proposed(bench, "edits")
    await review(page, proposal)
    await expect(hunk(page, 1)).to_be_visible()
    async with bench.hub.client() as client:
        await client.call(
            "PATCH",
            f"/api/proposals/{proposal['id']}/decisions",
            {"decisions": [{"path": "/src/agent.py", "decision": "rejected"}]},
            headers={"If-Match": f'"{proposal["etag"]}"'},
        )
    await expect(page.get_by_role("treeitem", name="agent.py")).to_contain_text("rejected")
    await hunk(page, 1).get_by_role("button", name="Reject hunk").click()
    await expect(hunk(page, 1)).to_contain_text("rejected")
    await accept(page)
    async with bench.hub.client() as client:
        texts = await draft_texts(client, proposal)
    assert "/src/agent.py" not in texts
    assert "line 3 of" in texts["/notes.md"]
    assert "line 30 of" not in texts["/notes.md"]


async def test_the_first_of_500_files_is_shown_while_the_others_are_still_read(
    bench: Workbench, page: Page
) -> None:
    async with bench.hub.client() as client:
        proposal = await a_proposal(client, "many", many_files())
    seen = asyncio.Event()

    async def hold(route: Route) -> None:
        await seen.wait()
        await route.continue_()

    await page.route("**/diff?*cursor=*", hold)
    await page.evaluate("path => { location.hash = path }", f"/proposals/{proposal['id']}")
    await expect(page.locator(".cm-changedLine", has_text="line SEVEN of 0")).to_be_visible()
    await expect(page.get_by_text(f"{MANY} modified")).to_be_visible()
    seen.set()
    # The last file is reached by keys, and only the rows that can be seen are on the page.
    await page.get_by_role("treeitem", name="file000.md").click()
    last = page.locator("[role=treeitem]:focus", has_text="file499.md")
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while await last.count() == 0:
            await page.keyboard.press("End")
    await page.keyboard.press("Enter")
    await expect(page.locator(".cm-changedLine", has_text="line SEVEN of 499")).to_be_visible()
    assert await page.get_by_role("treeitem").count() < 100
