"""The page itself: how it is served, how it gets its token, and what it may load."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.support.hand_clock import until
from tests.support.hub import a_workflow
from tests.workbench.driver import Workbench

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_token_of_the_address_signs_in_and_leaves_the_address(bench: Workbench, page: Page) -> None:
    async with bench.hub.client() as client:
        await a_workflow(client, name="Weather report")
    await page.reload()
    await expect(page.get_by_role("button", name="Weather report")).to_be_visible()
    await expect(page).not_to_have_url(re.compile("token"))
    assert await page.evaluate("localStorage.length") == 0


async def test_a_page_without_a_token_asks_for_one(bench: Workbench) -> None:
    async with bench.window(token="") as page:
        await page.get_by_role("textbox", name="Token").fill(bench.hub.token("bob@example.com"))
        await page.get_by_role("button", name="Use this token").click()
        await expect(page.get_by_text("bob@example.com")).to_be_visible()
        await expect(page.get_by_text("You have no workflow yet.")).to_be_visible()


async def test_the_page_may_load_nothing_from_elsewhere_and_run_no_script_of_its_own_text(
    bench: Workbench,
) -> None:
    async with httpx.AsyncClient(base_url=bench.hub.http, trust_env=False, timeout=60) as nobody:
        answer = await nobody.get("/")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "<style" not in answer.text
    assert "style=" not in answer.text
    tried = """() => {
        globalThis.ran = false;
        const script = document.createElement("script");
        script.textContent = "globalThis.ran = true";
        document.head.append(script);
        return globalThis.ran;
    }"""
    async with bench.window() as page:
        assert await page.evaluate(tried) is False
        with pytest.raises(Exception, match="Failed to fetch"):
            await page.evaluate("() => fetch('https://example.com/')")
        # What a page complains of may come after the answer.
        await until(lambda: len(bench.complaints) >= 2)
    bench.complaints.clear()
