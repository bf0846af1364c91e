"""A run that is under way and says nothing more."""

from __future__ import annotations

from tests.support.hub import RunningHub, start

#: Behind this many frames the run says nothing more; with the start, as many events and one.
QUIET = "[[replay:short_run silent=10]]"
LAST_SEQ = 11


async def quiet_thread(hub: RunningHub) -> str:
    """A refinement that is under way and says nothing more behind event 11."""
    async with hub.client() as client:
        started = await start(client, QUIET)
        async for message in client.messages(started["thread_id"]):
            if message.get("batch", {}).get("events", [{}])[-1].get("seq") == LAST_SEQ:
                return str(started["thread_id"])
    raise AssertionError("the run ended")
