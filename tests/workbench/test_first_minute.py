"""The first minute of `docs/first-minute.md`: from `ideo dev` to an accepted proposal, by clicks in the page.

With `PICTURES` in the environment it writes the pictures of that page into the folder of that name.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.support.browser import BROWSERS, OPTIONS
from tests.support.processes import running
from tests.support.programs import installed
from tests.workbench.driver import PATIENCE_MS

pytestmark = pytest.mark.asyncio(loop_scope="module")

PICTURES = os.environ.get("PICTURES")


async def picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.screenshot(path=Path(PICTURES, f"{name}.png"))


@pytest.mark.timeout(300)
async def test_a_newcomer_gets_from_the_printed_address_to_an_accepted_proposal(tmp_path: Path) -> None:
    environment = {"IDEO_DATA_DIR": str(tmp_path), "IDEO_HTTP_PORT": "0", "IDEO_GRPC_PORT": "0"}
    async with (
        running("dev", "--no-demo", environment=environment, log=tmp_path / "log") as dev,
        async_playwright() as playwright,
    ):
        await dev.serving("HTTP")
        [address] = [line for line in dev.addresses if "#token=" in line]
        browser = await playwright.chromium.launch(executable_path=installed(*BROWSERS), args=[*OPTIONS[1:]])
        page = await browser.new_page(viewport={"width": 1100, "height": 640})
        page.set_default_timeout(PATIENCE_MS)

        await page.goto(address)
        await page.get_by_label("What should change?").fill("Create a research workflow")
        await page.get_by_label("Recording").select_option("short_run")
        await page.get_by_label("Played").select_option("as it was recorded")
        await picture(page, "start")
        await page.get_by_role("button", name="Start", exact=True).click()

        await expect(page.get_by_role("treeitem", name="constitution.md")).to_be_visible()
        await picture(page, "watch")
        await page.get_by_role("link", name="Review the proposal").click()

        await expect(page.get_by_role("button", name="Accept …")).to_be_visible()
        await expect(page.get_by_text("Be useful.")).to_be_visible()
        await picture(page, "review")
        await page.get_by_role("button", name="Accept …").click()
        await page.get_by_role("button", name="Accept into the draft").click()
        await expect(page.get_by_text("Accepted on").first).to_be_visible()
        await picture(page, "accepted")
        await browser.close()
        assert await dev.stop() in (0, 130, 143)
