"""The driver of the workbench's tests: a real hub, and its page in the Chromium of this machine."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    async_playwright,
    expect,
)

from tests.support.browser import BROWSERS, OPTIONS
from tests.support.hub import RunningHub, running_hub
from tests.support.programs import installed

T = TypeVar("T")

#: Milliseconds within which what a test waits for happens, also on a busy machine.
PATIENCE_MS = 60_000
#: Settings of the hub, by field name.
DEFAULTS: dict[str, Any] = {"workbench": True, "max_creates_per_minute": 0, "max_active_runs": 0}


@dataclass
class Workbench:
    """A running hub and a browser.

    complaints: errors on the pages' consoles, violations of the content security policy included, and
    uncaught exceptions. A test that expects some clears the list.
    """

    hub: RunningHub
    browser: Browser
    complaints: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def window(
        self,
        path: str = "/",
        *,
        token: str | None = None,
        width: int = 1280,
        height: int = 800,
        at: str | None = None,
        **context: Any,
    ) -> AsyncIterator[Page]:
        """A person's window, at an address such as `/runs/…`.

        at: an address of the hub, such as a proxy's. token: by default one of ann@example.com; without one if
        it is empty. context: options of Playwright's `new_context`, such as `color_scheme`.
        """
        opened = await self.browser.new_context(viewport={"width": width, "height": height}, **context)
        opened.set_default_timeout(PATIENCE_MS)
        try:
            page = await self.tab(opened)
            given = self.hub.token() if token is None else token
            hub = at or self.hub.http
            await page.goto(f"{hub}/#token={given}" if given else f"{hub}/#{path}")
            if given and path != "/":
                await visit(page, f"{hub}/#{path}")
            yield page
        finally:
            await opened.close()

    async def tab(self, context: BrowserContext) -> Page:
        """A further tab of the same person's."""
        page = await context.new_page()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)


async def visit(page: Page, address: str) -> None:
    """Load the page anew at an address: another hash alone leaves the view before for a while."""
    await page.goto("about:blank")
    await page.goto(address)


async def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until an element has the focus, as a person does who has no pointer."""
    await expect(target).to_be_visible()
    # What is still to come could take the focus.
    await expect(page.get_by_text("Loading")).to_have_count(0)
    for _ in range(100):
        if await target.evaluate("element => element.matches(':focus')"):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"the keyboard does not lead to {target}")


async def read_until(page: Page, read: Callable[[], Awaitable[T]], expected: T) -> None:
    """Read a value, frame by frame, until it is as expected; fails with the last one."""
    ends = time.monotonic() + PATIENCE_MS / 1000
    while (found := await read()) != expected and time.monotonic() < ends:
        await page.evaluate("new Promise(requestAnimationFrame)")
    assert found == expected


@asynccontextmanager
async def workbench(
    database: str, *, recordings: Path | None = None, **settings: Any
) -> AsyncIterator[Workbench]:
    """A hub that serves the workbench, and a browser. settings: of the hub, by field name.

    Skips the test without Chromium; in CI, fails it. Fails the test if the page complained.
    """
    installed(*BROWSERS)
    async with (
        running_hub(database, recordings=recordings, **DEFAULTS | settings) as hub,
        browser_at(hub) as opened,
    ):
        yield opened


@asynccontextmanager
async def browser_at(hub: RunningHub) -> AsyncIterator[Workbench]:
    """A browser for a hub that serves the workbench. Skips and fails as `workbench`."""
    executable = installed(*BROWSERS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=[*OPTIONS[1:]])
        try:
            opened = Workbench(hub, browser)
            yield opened
            assert opened.complaints == []
        finally:
            await browser.close()
