"""Every view of the workbench, for the tests that look at all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Page, expect

from tests.support.hub import finished, start
from tests.workbench.driver import Workbench, visit

#: A function `everyElement(root)` over the elements of a document, those in shadow roots included.
EVERY_ELEMENT = """
    function* everyElement(root = document) {
        for (const element of root.querySelectorAll("*")) {
            yield element;
            if (element.shadowRoot !== null) yield* everyElement(element.shadowRoot);
        }
    }
"""


#: What a view shows once it has read the end of the run: until then elements change or go away.
WHOLE = {
    "watch": ".watch-head .notice",
    "history": '.timeline button:text-is("End")',
    "review": ".file-pane :is(.diff, .code, .state:not([role]))",
    "draft": ".tree [aria-selected=true], .state:not([role])",
    "inspector": '.inspector p[role=status] :text-is("ended")',
    "share": 'p[role=status]:has-text("to the end")',
}


@dataclass(frozen=True)
class Shown:
    """What the views show: a proposal of a run that has ended, and the secret of a link to it."""

    proposal: dict[str, Any]
    secret: str

    @property
    def addresses(self) -> dict[str, str]:
        """The address of each view."""
        thread = self.proposal["thread_id"]
        return {
            "start": "/",
            "watch": f"/runs/{thread}",
            "history": f"/runs/{thread}/history",
            "review": f"/proposals/{self.proposal['id']}",
            "draft": f"/drafts/{self.proposal['workflow_id']}",
            "inspector": f"/inspector/{thread}",
            "HTTP": "/api?part=http&name=startRefinement",
            "WebSocket": "/api?part=websocket",
            "RPCs": "/api?part=rpc&name=RefinementService.WatchRefinement",
            "share": f"/share/{self.proposal['id']}?secret={self.secret}",
        }


async def ran(bench: Workbench, prompt: str) -> Shown:
    """A run of a workflow of its own, to its end."""
    async with bench.hub.client() as client:
        return await shared(bench, await finished(client, await start(client, prompt)))


async def shared(bench: Workbench, proposal: dict[str, Any]) -> Shown:
    """A proposal, with a link to it."""
    async with bench.hub.client() as client:
        link = await client.call("POST", f"/api/proposals/{proposal['id']}/shares", {})
    return Shown(proposal, str(link["secret"]))


async def settled(page: Page) -> None:
    """Wait until the view shows what it has."""
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await expect(page.get_by_text("Loading")).to_have_count(0)
    await expect(page.locator('#main :is(a[href], button, [tabindex="0"])').first).to_be_visible()


async def each_view(bench: Workbench, page: Page, shown: Shown) -> AsyncIterator[str]:
    """Open one view after another; their names."""
    for name, path in shown.addresses.items():
        await visit(page, f"{bench.hub.http}/#{path}")
        if name in WHOLE:
            await expect(page.locator(WHOLE[name]).first).to_be_visible()
        await settled(page)
        yield name
