"""Starting a refinement and watching it: text, tools, todos files, cuts, questions, a token that ends."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.support.hub import a_workflow, finished, start
from tests.support.proxy import proxy
from tests.workbench.driver import PATIENCE_MS, Workbench, tab_to

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: A run that has sent something and then waits, for as long as a test needs.
HELD = "[[replay:short_run silent=20]]"


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    """The runtime continues a run with a reply."""
    return {"runtime_can_resume": True}


async def started(bench: Workbench, prompt: str) -> dict[str, str]:
    async with bench.hub.client() as client:
        return await start(client, prompt)


async def cancel(bench: Workbench, thread: str) -> int:
    """Cancel a run; the number of its events."""
    async with bench.hub.client() as client:
        await client.call("POST", f"/api/refinements/{thread}/cancel")
        return [event.seq async for event in client.follow(thread)][-1]


def status(page: Page) -> Locator:
    return page.locator(".watch-head h1 + .badge")


def cursor(page: Page, seq: int) -> Locator:
    return page.locator(f'[data-seq="{seq}"]')


def connection(page: Page, state: str) -> Locator:
    return page.locator(f'[data-connection="{state}"]')


async def test_a_refinement_is_started_about_lines_of_the_draft_and_watched_to_its_end_by_keyboard_alone(
    bench: Workbench,
) -> None:
    text = "# Constitution\n\nBe brief.\nBe exact.\n"
    async with bench.hub.client() as client:
        workflow = await a_workflow(client, name="Weather report", files={"/THE_SPEC/constitution.md": text})
    async with bench.window(f"/?workflow={workflow}") as page:
        await page.get_by_role("button", name="Choose a file or lines").press("Enter")
        await page.get_by_role("treeitem", name="THE_SPEC").press("ArrowDown")
        await page.get_by_role("treeitem", name="constitution.md").press("Enter")
        await page.get_by_label("From line").fill("3")
        await page.get_by_label("to", exact=True).fill("4")
        await page.get_by_label("What should change?").fill("Add web search [[replay:short_run]]")
        await page.keyboard.press("Control+Enter")
        await expect(status(page)).to_have_text("completed")
        await expect(cursor(page, 52)).to_be_visible()
        await expect(page.get_by_text("About /THE_SPEC/constitution.md, lines 3-4")).to_be_visible()
        said = page.get_by_role("region", name="Messages")
        await expect(said.get_by_text("The specification is complete.")).to_be_visible()
        await said.locator("summary").filter(has_text="edit_file").press("Enter")
        await expect(said.get_by_text("Successfully replaced")).to_be_visible()
        await expect(page.get_by_role("region", name="Todos").get_by_text("completed")).to_have_count(2)
        files = page.get_by_role("tree", name="Files of the run")
        await files.get_by_role("treeitem", name="constitution.md").press("Enter")
        await expect(page.get_by_label("/THE_SPEC/constitution.md", exact=True)).to_contain_text(
            "Constitution"
        )
        await expect(page).to_have_title("completed: Add web search · Workbench")
    async with bench.hub.client() as client:
        [proposal] = (await client.call("GET", f"/api/proposals?workflow_id={workflow}"))["items"]
    assert (proposal["context_file_path"], proposal["context_selection"]) == (
        "/THE_SPEC/constitution.md",
        "lines 3-4",
    )


async def test_an_archived_workflow_is_listed_last_and_starts_nothing(bench: Workbench) -> None:
    async with bench.hub.client() as client:
        await a_workflow(client, name="open")
        archived = await a_workflow(client, name="put away")
        await client.call("PATCH", f"/api/workflows/{archived}", {"archived": True})
    async with bench.window("/") as page:
        await expect(page.get_by_role("heading", name="Refine open")).to_be_visible()
        start_button = page.get_by_role("button", name="Start", exact=True)
        await expect(start_button).to_be_enabled()
        await page.get_by_role("button", name="put away").click()
        await expect(
            page.get_by_text("The workflow is archived: no refinement can be started.")
        ).to_be_visible()
        await expect(start_button).to_be_disabled()


async def test_from_the_prompt_to_an_accepted_proposal_by_keyboard_alone(bench: Workbench) -> None:
    async with bench.hub.client() as client:
        workflow = await a_workflow(client, files={"/THE_SPEC/constitution.md": "# Constitution\n"})
    async with bench.window(f"/?workflow={workflow}") as page:
        await tab_to(page, page.get_by_label("What should change?"))
        await page.keyboard.type("Add web search [[replay:short_run]]")
        await page.keyboard.press("Control+Enter")
        await tab_to(page, page.get_by_role("link", name="Review the proposal"))
        await page.keyboard.press("Enter")
        await tab_to(page, page.get_by_role("tree").locator("[tabindex='0']"))
        await page.keyboard.press("End")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="/definition.json")).to_be_visible()
        await page.keyboard.press("X")
        await expect(page.get_by_role("treeitem", name="definition.json")).to_contain_text("rejected")
        await tab_to(page, page.get_by_role("button", name="Accept …"))
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Accept", exact=True)).to_be_focused()
        await tab_to(page, page.get_by_role("textbox", name="Comment"))
        await page.keyboard.type("by keyboard")
        await tab_to(page, page.get_by_role("button", name="Accept into the draft"))
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("by keyboard")).to_be_visible()
        await expect(page.get_by_role("heading", name="Review", exact=True)).to_be_focused()
    async with bench.hub.client() as client:
        draft = (await client.call("GET", f"/api/workflows/{workflow}"))["current_draft_id"]
        accepted = await client.call("GET", f"/api/drafts/{draft}")
    assert list(accepted["files"]) == ["/THE_SPEC/constitution.md"]
    assert accepted["version"] == 2


async def test_a_cut_connection_is_seen_and_the_page_resumes_at_its_cursor(bench: Workbench) -> None:
    run = await started(bench, HELD)
    port = int(bench.hub.http.rpartition(":")[2])
    async with (
        proxy(port) as way,
        bench.window(f"/runs/{run['thread_id']}", at=f"http://127.0.0.1:{way.place}") as page,
    ):
        await expect(connection(page, "live")).to_be_visible()
        await expect(page.get_by_text(re.compile(r"event 2\d"))).to_be_visible()
        way.open.clear()
        way.break_all("reset")
        await expect(connection(page, "lost")).to_contain_text("connection lost, next attempt")
        # The run ends meanwhile.
        last = await cancel(bench, run["thread_id"])
        way.open.set()
        await expect(status(page)).to_have_text("cancelled")
        await expect(cursor(page, last)).to_contain_text(str(last))
        await expect(page.get_by_text("connected again")).to_be_visible()
        bench.complaints.clear()


async def test_a_run_is_cancelled_after_a_question(bench: Workbench) -> None:
    run = await started(bench, HELD)
    async with bench.window(f"/runs/{run['thread_id']}") as page:
        await page.get_by_role("button", name="Cancel the run").click()
        dialog = page.get_by_role("dialog", name="Cancel the run?")
        await dialog.get_by_role("button", name="Let it run").click()
        await expect(dialog).to_be_hidden()
        await expect(status(page)).to_have_text("processing")
        await page.get_by_role("button", name="Cancel the run").click()
        await dialog.get_by_role("button", name="Cancel the run").click()
        await expect(status(page)).to_have_text("cancelled")
        await expect(page.get_by_role("button", name="Cancel the run")).to_have_count(0)


async def test_the_agents_questions_are_answered_and_the_run_goes_on_to_its_end(bench: Workbench) -> None:
    run = await started(bench, "Clean up [[replay:approval]]")
    async with bench.window(f"/runs/{run['thread_id']}") as page:
        question = page.get_by_role("form", name="The agent's question")
        await expect(status(page)).to_have_text("awaiting input")
        await question.get_by_label("edit").check()
        edited = question.get_by_label("Arguments to use instead")
        await expect(edited).to_have_value(re.compile('"file_path": "/THE_SPEC/constitution.md"'))
        await edited.fill("no JSON")
        await question.get_by_role("button", name="Send the reply").click()
        await expect(question.get_by_role("alert")).to_be_visible()
        bench.complaints.clear()
        await edited.fill('{"file_path": "/THE_SPEC/constitution.md", "content": "Ask first."}')
        await question.get_by_role("button", name="Send the reply").click()
        # It asks again, about something else.
        await expect(question.get_by_label("edit")).not_to_be_checked()
        await question.get_by_label("reject").check()
        await question.get_by_label("Message to the agent").fill("Keep the file.")
        await question.get_by_role("button", name="Send the reply").click()
        await expect(status(page)).to_have_text("completed")
        await expect(question).to_have_count(0)
    async with bench.hub.client() as client:
        answered = [
            list(event.input_answered.decisions)
            async for event in client.follow(run["thread_id"])
            if event.HasField("input_answered")
        ]
    assert answered == [["edit"], ["reject"]]


async def test_a_token_that_ends_is_asked_for_and_the_stream_goes_on_at_its_cursor(bench: Workbench) -> None:
    run = await started(bench, HELD)
    # On a busy machine, little time may be over before the page is connected.
    for left_s in (8, 60):
        # The hub accepts a token for 30 s after its end.
        ending = bench.hub.token(minutes=(left_s - 30) / 60)
        async with bench.window(f"/runs/{run['thread_id']}", token=ending) as page:
            try:
                await expect(connection(page, "live")).to_be_visible(timeout=left_s * 1000)
            except AssertionError:
                if left_s == 60:
                    raise
                continue
            dialog = page.get_by_role("dialog", name="Enter a new token")
            await expect(dialog).to_contain_text("The token has ended or ends within a minute")
            lost = page.locator('[data-connection="lost"]')
            await expect(lost).to_be_attached(timeout=left_s * 1000 + PATIENCE_MS)
            await dialog.get_by_role("textbox").fill(bench.hub.token())
            await dialog.get_by_role("button", name="Use this token").click()
            await expect(connection(page, "live")).to_be_visible()
            last = await cancel(bench, run["thread_id"])
            await expect(status(page)).to_have_text("cancelled")
            await expect(cursor(page, last)).to_be_visible()
            break
    bench.complaints.clear()


async def test_what_is_said_of_a_page_is_not_said_of_the_next_one(bench: Workbench) -> None:
    async with bench.hub.client() as client:
        made = await start(client, "[[replay:short_run]]")
        await finished(client, made)
    async with bench.window(f"/runs/{made['thread_id']}") as page:
        said = page.locator(".unseen[role=status]")
        await expect(said).to_have_text("The run is completed, 2 files.")
        await page.evaluate("location.hash = '/api'")
        await expect(page.get_by_role("heading", name="Responses")).to_be_visible()
        await expect(said).to_be_empty()


async def test_a_failed_run_says_why(bench: Workbench) -> None:
    run = await started(bench, "[[replay:error_mid_stream]]")
    async with bench.window(f"/runs/{run['thread_id']}") as page:
        await expect(status(page)).to_have_text("failed")
        await expect(page.locator(".watch-head .notice.bad")).to_contain_text("upstream_error")


async def test_a_run_that_waits_for_another_says_for_which(bench: Workbench) -> None:
    async with bench.hub.client() as client:
        workflow = await a_workflow(client)
        first = await start(client, f"The first one {HELD}", workflow)
        path = f"/api/workflows/{workflow}/refinements"
        request = {"user_prompt": "The second one [[replay:short_run]]", "when_busy": "enqueue"}
        second = await client.call("POST", path, request)
    async with bench.window(f"/runs/{second['thread_id']}") as page:
        await expect(status(page)).to_have_text("queued")
        await expect(page.get_by_role("link", name="The first one")).to_be_visible()
        await cancel(bench, first["thread_id"])
        await expect(status(page)).to_have_text("completed")


async def test_a_run_that_is_not_the_users_is_not_found(bench: Workbench) -> None:
    async with bench.hub.client() as client:
        run = await start(client, "[[replay:short_run]]")
        await finished(client, run)
    async with bench.window(f"/runs/{run['thread_id']}", token=bench.hub.token("eve@example.com")) as page:
        await expect(page.get_by_role("alert")).to_contain_text("not_found")
    bench.complaints.clear()
