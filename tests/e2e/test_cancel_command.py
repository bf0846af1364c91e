"""`ideo cancel` against a running hub, and what `ideo refine` shows and chooses around it."""

from __future__ import annotations

from uuid import uuid4

from tests.support.commands import Commands
from tests.support.hub import finished, running_hub, start


async def test_a_run_is_cancelled_once_and_stays_cancelled(database: str) -> None:
    async with running_hub(database) as hub:
        ideo = Commands(hub.ideo_settings).ideo
        async with hub.client() as client:
            workflow = await client.create_workflow("w")
            started = await start(client, "wait [[replay:approval]]", workflow["id"])
            thread = str(started["thread_id"])
            code, output, messages = await ideo("cancel", thread)
            assert (code, messages) == (0, "")
            assert output.startswith("the refinement is ")
            assert (await finished(client, started))["status"] == "cancelled"
            assert await ideo("cancel", thread) == (0, "the refinement is cancelled\n", "")
            code, _, messages = await ideo("cancel", str(uuid4()))
            assert (code, messages.startswith("ideo: 404: no such refinement: ")) == (1, True)


async def test_a_refinement_without_a_workflow_takes_the_newest_that_is_not_archived(database: str) -> None:
    async with running_hub(database) as hub:
        ideo = Commands(hub.ideo_settings).ideo
        async with hub.client() as client:
            kept = await client.create_workflow("kept")
            archived = await client.create_workflow("archived")
            await client.call("PATCH", f"/api/workflows/{archived['id']}", {"archived": True})
            code, _, messages = await ideo("refine", "go on [[replay:short_run]]")
            assert (code, messages) == (0, "")
            [proposal] = [each async for each in client.proposals()]
            assert proposal["workflow_id"] == kept["id"]
            await client.call("PATCH", f"/api/workflows/{kept['id']}", {"archived": True})
            code, _, messages = await ideo("refine", "go on [[replay:short_run]]")
            assert (code, "no workflow that can be refined" in messages) == (1, True)
