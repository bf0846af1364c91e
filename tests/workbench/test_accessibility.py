"""What axe-core finds on every view, in both themes and widths; names and contents that mean harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.support.programs import installed
from tests.support.recordings import link_shipped, write_recording
from tests.workbench.driver import Workbench
from tests.workbench.every_view import each_view, ran, settled
from tools import workbench as build

pytestmark = pytest.mark.asyncio(loop_scope="module")

AXE = Path(build.SOURCE, "node_modules", "axe-core", "axe.min.js")
SCRIPT = "<script>globalThis.harmed = 1</script><img src=x onerror='globalThis.harmed = 1'>"
HOSTILE = {
    "/<img src=x onerror=globalThis.harmed=1>.md": f"# {SCRIPT}\n[link](javascript:globalThis.harmed=1)\n",
    '/"><script>globalThis.harmed=1<x>.html': SCRIPT,
    "/report\u202etxt.exe": "\u202eabc\u2066\u0007\u001b[31m\n",
    f"/{'long/' * 40}{'name' * 50}.json": '{"__proto__": {"harmed": 1}, "constructor": 1}',
    "/constructor": "x" * 100_000,
    "/__proto__": "a file",
}


@pytest.fixture(scope="module")
def recordings(folder: Path) -> Path:
    """The shipped runs, and one that means harm."""
    files = {path: {"content": text.split("\n")} for path, text in HOSTILE.items()}
    write_recording(folder, "hostile", files, files)
    return link_shipped(folder)


async def findings(page: Page, *rules: str) -> list[str]:
    """What axe finds that is serious or critical."""
    only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    found = await page.evaluate("async only => (await axe.run(document, only)).violations", only)
    return [
        f"{each['id']} ({each['impact']}): {node['target']} {node['html'][:160]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


async def test_axe_finds_nothing_serious_on_any_view(bench: Workbench) -> None:
    installed("npm")
    build.install()
    shown = await ran(bench, "Add web search [[replay:short_run]]")
    wrong: list[str] = []
    for width in (1440, 320):
        async with bench.window(width=width, color_scheme="light") as page:
            async for name in each_view(bench, page, shown):
                await page.evaluate(AXE.read_text())
                wrong += [f"{name} at {width}: {each}" for each in await findings(page)]
                if width == 1440:
                    # Colours are the same at every width.
                    await page.emulate_media(color_scheme="dark")
                    dark = await findings(page, "color-contrast")
                    wrong += [f"{name}, dark: {each}" for each in dark]
                    await page.emulate_media(color_scheme="light")
    assert wrong == []


async def test_buttons_stay_readable_under_the_pointer(bench: Workbench) -> None:
    installed("npm")
    build.install()
    shown = await ran(bench, "Add web search [[replay:short_run]]")
    wrong: list[str] = []
    async with bench.window(f"/proposals/{shown.proposal['id']}") as page:
        await expect(page.get_by_role("button", name="Accept hunk")).to_be_visible()
        await page.evaluate(AXE.read_text())
        for name in ("Accept …", "Revise …", "Reject …", "Unified", "Side by side", "Accept hunk"):
            await page.get_by_role("button", name=name).hover()
            wrong += await findings(page, "color-contrast")
    assert wrong == []


async def test_axe_finds_what_it_is_for(bench: Workbench, page: Page) -> None:
    installed("npm")
    build.install()
    await settled(page)
    await page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    await page.evaluate(AXE.read_text())
    assert any(each.startswith("button-name") for each in await findings(page))


async def test_names_prompts_and_contents_that_mean_harm_are_text_on_every_view(bench: Workbench) -> None:
    shown = await ran(bench, f"{SCRIPT} \u202e [[replay:hostile]]")
    async with bench.window() as page:
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        async for _ in each_view(bench, page, shown):
            assert await page.evaluate("[globalThis.harmed, {}.harmed]") == [None, None]
            assert await page.locator("main img, main script, main iframe").count() == 0
        assert dialogs == []
        await page.goto(f"{bench.hub.http}/#/proposals/{shown.proposal['id']}")
        await expect(page.get_by_text("report\\u{202e}txt.exe").first).to_be_visible()
        await expect(page.get_by_text("<img src=x onerror=globalThis.harmed=1>.md").first).to_be_visible()
