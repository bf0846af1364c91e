"""How every view is shown: on a narrow screen, without motion, in the system's colours, and by keyboard."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.support.hub import start
from tests.support.recordings import link_shipped
from tests.workbench.driver import PATIENCE_MS, Workbench
from tests.workbench.every_view import EVERY_ELEMENT, Shown, each_view, settled, shared
from tests.workbench.reviewed import MOVED, a_proposal, write_draft, write_recordings

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Pixels of the narrowest screen: one of 1280 at four times the size (WCAG 1.4.10).
NARROW = 320

#: What reaches beyond the screen or is cut off. Code that is not wrapped is scrolled sideways, long names
#: end in dots, and some texts are for screen readers alone.
CUT_OFF = f"""() => {{
    {EVERY_ELEMENT}
    const parentOf = element => element.parentElement ?? element.getRootNode().host ?? null;
    const scrolled = box => box.matches(".cm-scroller") && box.querySelector(".cm-lineWrapping") === null;
    const wrong = [];
    for (const element of everyElement(document.body)) {{
        const box = element.getBoundingClientRect();
        const visible = element.checkVisibility({{checkVisibilityCSS: true}});
        if (!visible || box.width === 0 || box.height === 0) continue;
        let [left, right, why] = [0, document.documentElement.clientWidth, "the screen"];
        for (let each = element; each !== null; each = parentOf(each)) {{
            const style = getComputedStyle(each);
            if (style.clipPath !== "none" || style.textOverflow === "ellipsis" || scrolled(each)) {{
                why = undefined;
                break;
            }}
            if (each === element || style.overflowX === "visible") continue;
            const inside = each.getBoundingClientRect();
            if (inside.right < right) [right, why] = [inside.right, each.className || each.tagName];
            left = Math.max(left, inside.left);
        }}
        if (why === undefined || (box.left >= left - 1 && box.right <= right + 1)) continue;
        const text = element.textContent.trim().slice(0, 40);
        const name = `${{element.tagName}}.${{element.className}} "${{text}}"`;
        wrong.push(`${{name}} from ${{Math.round(box.left)}} to ${{Math.round(box.right)}} in ${{why}}`);
    }}
    const wide = document.documentElement.scrollWidth;
    if (wide > document.documentElement.clientWidth) wrong.push(`the page is ${{wide}} pixels wide`);
    return wrong;
}}"""

#: What moves, or would scroll slowly.
MOVING = f"""() => {{
    {EVERY_ELEMENT}
    const moving = [];
    for (const element of everyElement()) {{
        const inside = element.shadowRoot?.getAnimations() ?? [];
        moving.push(...inside.map(() => "an animation"));
        for (const part of [undefined, "::before", "::after"]) {{
            const style = getComputedStyle(element, part);
            const durations = `${{style.transitionDuration}}, ${{style.animationDuration}}`;
            if (style.animationName !== "none" || style.scrollBehavior !== "auto" || /[1-9]/.test(durations))
                moving.push(`${{element.tagName}}.${{element.className}}`);
        }}
    }}
    return [...moving, ...document.getAnimations().map(() => "an animation"), ...globalThis.smooth];
}}"""
#: Notes scrolling that a script asks to be slow.
NOTE_SCROLLING = """
    globalThis.smooth = [];
    for (const name of ["scroll", "scrollTo", "scrollBy", "scrollIntoView"])
        for (const owner of [Element.prototype, globalThis]) {
            const scroll = owner[name];
            if (scroll === undefined) continue;
            owner[name] = function (...given) {
                if (given[0]?.behavior === "smooth") globalThis.smooth.push(name);
                return scroll.apply(this, given);
            };
        }
"""

#: The element that has the focus, in shadow roots, too; whether an outline of it or around it shows that.
FOCUSED = """() => {
    let element = document.activeElement;
    while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
    if (element === null || element === document.body) return undefined;
    const name = `${element.tagName}.${element.className} "${element.textContent.trim().slice(0, 30)}"`;
    const around = [element, element.parentElement, element.closest(".cm-editor")];
    const shown = around.some(each => {
        const style = each === null ? undefined : getComputedStyle(each);
        return style !== undefined && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
    });
    return { name, shown };
}"""


@pytest.fixture(scope="module")
def recordings(folder: Path) -> Path:
    """The reviewed runs, and those that ask."""
    return link_shipped(write_recordings(folder), "approval*")


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return {"runtime_can_resume": True}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shown(bench: Workbench) -> Shown:
    """A proposal with a file that has three hunks."""
    async with bench.hub.client() as client:
        proposal = await a_proposal(client, "edits")
    return await shared(bench, proposal)


async def conflict(bench: Workbench, page: Page) -> None:
    """Open the step that accepts a proposal with a conflict."""
    async with bench.hub.client() as client:
        proposal = await a_proposal(client, "edits")
        await write_draft(client, proposal, {"/notes.md": MOVED})
    await page.goto(f"{bench.hub.http}/#/proposals/{proposal['id']}")
    await page.get_by_role("button", name="Accept …").click()
    await expect(page.get_by_role("group", name="Conflict 1 of 1")).to_be_visible()


async def test_nothing_is_cut_off_on_a_narrow_screen(bench: Workbench, shown: Shown) -> None:
    wrong: list[str] = []

    async def look(name: str) -> None:
        found = await found_some_frames_later(page, CUT_OFF, lambda cut_off: cut_off == [])
        wrong.extend(f"{name}: {each}" for each in found)

    async def look_at_each_step(name: str) -> None:
        """What the buttons of a view open, which is a dialog or takes the place of the files."""
        back = page.get_by_role("button", name="Back to the files")
        for step in dict.fromkeys(await page.locator("main button", has_text="…").all_inner_texts()):
            await page.locator("main button", has_text=step).first.click()
            await expect(page.get_by_role("dialog").or_(back)).to_be_visible()
            await settled(page)
            await look(f"{name}, {step}")
            if await back.is_visible():
                await back.click()
                await expect(back).to_have_count(0)
            else:
                await page.keyboard.press("Escape")
                await expect(page.get_by_role("dialog")).to_have_count(0)
            await settled(page)

    async with bench.window(width=NARROW, height=640) as page:
        async for name in each_view(bench, page, shown):
            if name == "review":
                await page.get_by_role("treeitem", name="notes.md").click()
                await expect(page.get_by_role("button", name="Reject hunk").last).to_be_visible()
            await look(name)
            await look_at_each_step(name)
        async with bench.hub.client() as client:
            asking = await start(client, "Clean up [[replay:approval]]")
        await page.goto(f"{bench.hub.http}/#/runs/{asking['thread_id']}")
        await expect(page.get_by_role("form", name="The agent's question")).to_be_visible()
        await look("a question")
        await conflict(bench, page)
        await look("a conflict")
        await page.goto(f"{bench.hub.http}/#/proposals/{'0' * 8}-0000-4000-8000-{'0' * 12}")
        await expect(page.get_by_role("alert")).to_be_visible()
        await look("a proposal that does not exist")
    bench.complaints.clear()
    assert wrong == []


async def test_nothing_moves_for_people_who_asked_for_less_motion(bench: Workbench, shown: Shown) -> None:
    moving: list[str] = []
    async with bench.window(reduced_motion="reduce") as page:
        await page.add_init_script(NOTE_SCROLLING)
        await page.reload()
        async for name in each_view(bench, page, shown):
            if name == "review":
                await page.get_by_role("treeitem", name="notes.md").click()
                hunks = page.get_by_role("group", name="Hunk")
                await expect(hunks.first).to_be_visible()
                await page.keyboard.press("j")
                await expect(hunks.first).to_be_focused()
            moving += [f"{name}: {each}" for each in await page.evaluate(MOVING)]
    assert moving == []


async def test_what_colours_say_is_also_said_in_the_systems_colours(bench: Workbench, shown: Shown) -> None:
    async with bench.window(f"/proposals/{shown.proposal['id']}", forced_colors="active") as page:
        tree = page.get_by_role("tree")
        await tree.get_by_role("treeitem", name="notes.md").click()
        await expect(page.locator(".cm-changedLine").first).to_be_visible()

        async def style(selector: str, name: str, part: str | None = None) -> str:
            read = "(element, [name, part]) => getComputedStyle(element, part)[name]"
            return str(await page.locator(selector).first.evaluate(read, [name, part]))

        # Lines that are there on one side alone have a sign.
        assert await style(".cm-deletedLineGutter", "content", "::before") == '"−"'
        assert await style(".cm-changedLineGutter", "content", "::before") == '"+"'
        # What is chosen looks unlike what is not.
        for what, chosen, other in (
            ("backgroundColor", ".segments [aria-pressed=true]", ".segments [aria-pressed=false]"),
            ("borderLeftWidth", ".tree-row[aria-selected=true]", ".tree-row[aria-selected=false]"),
            ("textDecorationLine", ".bar nav a[aria-current]", ".bar nav a:not([aria-current])"),
        ):
            assert await style(chosen, what) != await style(other, what), chosen
        assert await style(".badge", "outlineStyle") == "solid"


async def found_some_frames_later(page: Page, script: str, expected: Callable[[Any], bool]) -> Any:
    """What a script finds, once it is as expected, or after a while in which also a busy machine draws some
    frames: an editor shows what it has, and the focus, some frames later."""
    ends = time.monotonic() + PATIENCE_MS / 4000
    while not expected(found := await page.evaluate(script)) and time.monotonic() < ends:
        await page.evaluate("new Promise(requestAnimationFrame)")
    return found


async def focused_element(page: Page) -> dict[str, Any] | None:
    """What has the focus, and whether that is visible."""
    found: dict[str, Any] | None = await found_some_frames_later(
        page, FOCUSED, lambda focused: focused is None or focused["shown"]
    )
    return found


async def test_the_focus_is_visible_wherever_the_keyboard_leads(bench: Workbench, shown: Shown) -> None:
    hidden: list[str] = []
    async with bench.window() as page:
        async for name in each_view(bench, page, shown):
            await page.evaluate("document.getElementById('main').focus()")
            seen: set[str] = set()
            for _ in range(30):
                await page.keyboard.press("Tab")
                focused = await focused_element(page)
                if focused is None:
                    break
                seen.add(focused["name"])
                if not focused["shown"]:
                    hidden.append(f"{name}: {focused['name']}")
            assert len(seen) > 2, f"{name}: the keyboard leads nowhere"
    assert hidden == []
