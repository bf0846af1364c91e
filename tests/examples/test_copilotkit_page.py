"""The page of examples/copilotkit_page in Chromium: a person chats with an agent through the hub."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.support.hub import a_workflow
from tests.support.postgres import Postgres
from tests.support.programs import ROOT, installed, output_of
from tests.support.servers import answer, http_server
from tests.workbench.driver import PATIENCE_MS, Workbench, workbench

pytestmark = [pytest.mark.example, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

EXAMPLE = ROOT / "examples" / "copilotkit_page"
FILES = ["/THE_SPEC/constitution.md", "/definition.json"]


@pytest.fixture(scope="module")
def built() -> Path:
    """The page, built as its README.md says."""
    assert (EXAMPLE / "node_modules").exists(), "`poe examples` installs what the example needs"
    asyncio.run(output_of(installed("npm"), "run", "--silent", "build", folder=EXAMPLE))
    return EXAMPLE / "build"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(built: Path) -> AsyncIterator[str]:
    """The page's origin, which is not the hub's."""

    async def serve(head: bytes, body: bytes, _: object) -> bytes:
        file = built / (head.decode().split(" ")[1].removeprefix("/") or "index.html")
        if not file.is_file():
            return answer(404, b"")
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return answer(200, file.read_bytes(), content_type=kind)

    async with http_server(serve) as address:
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(postgres: Postgres, served: str) -> AsyncIterator[Workbench]:
    """A hub that the page's origin may call, and a browser."""
    expect.set_options(timeout=PATIENCE_MS)
    settings = {"runtime_can_resume": True, "allowed_origins": (served,)}
    async with postgres.fresh(migrated=True) as dsn, workbench(dsn, **settings) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def page(bench: Workbench, served: str) -> AsyncIterator[Page]:
    """The page with the agent of a new workflow."""
    async with bench.hub.client() as client:
        workflow = await a_workflow(client)
    context = await bench.browser.new_context()
    opened = await bench.tab(context)
    given = {"url": bench.hub.http, "token": bench.hub.token(), "workflow": workflow}
    await opened.goto(f"{served}/#{urlencode(given)}")
    yield opened
    await context.close()
    complaints = [*bench.complaints]
    bench.complaints.clear()
    assert complaints == []


async def say(page: Page, prompt: str) -> None:
    """Send a message as a person does."""
    field = page.get_by_test_id("copilot-chat-textarea")
    await field.fill(prompt)
    await field.press("Enter")
    await expect(page.get_by_test_id("copilot-user-message").last).to_contain_text(prompt)


async def files_of(page: Page) -> list[str]:
    """The paths of the files that the page shows."""
    return [
        text.split(" ")[0]
        for text in await page.get_by_label("Files").get_by_role("listitem").all_inner_texts()
    ]


async def test_text_appears_as_the_agent_says_it(page: Page) -> None:
    # Nothing follows the eighth frame: the text is shown before there is more of it.
    await say(page, "[[replay:short_run silent=8]]")
    await expect(page.get_by_test_id("copilot-assistant-message")).to_contain_text("I will write the constit")


async def test_a_message_starts_a_refinement_whose_tool_calls_and_files_appear(page: Page) -> None:
    await say(page, "[[replay:short_run]]")
    await expect(page.get_by_text("write_file: complete").first).to_be_visible()
    await expect(page.get_by_label("Files").get_by_role("listitem")).to_have_count(2)
    assert await files_of(page) == FILES


async def test_a_person_approves_the_agents_tool_calls(page: Page) -> None:
    await say(page, "[[replay:approval]]")
    question = page.get_by_role("group")
    await expect(question).to_contain_text("write_file")
    assert await files_of(page) == []
    await question.get_by_role("button", name="Approve").click()
    await expect(page.get_by_label("Files").get_by_role("listitem")).to_have_count(1)
    await question.get_by_role("button", name="Approve").click()
    await expect(page.get_by_label("Files").get_by_role("listitem")).to_have_count(2)
    await expect(question).to_have_count(0)
