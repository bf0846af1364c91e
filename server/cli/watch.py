"""`ideo watch`: a refinement's events in the terminal."""

from __future__ import annotations

import json
from typing import NoReturn

from rich.console import Console

from server.cli import exit_codes
from server.cli.hub_client import HubClient
from server.cli.hub_session import run_with_hub
from server.cli.terminal import RefinementView


def run(thread_id: str, *, after: int, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """Show the events of a thread after `after`, until the terminal event."""

    async def _watch(client: HubClient) -> int:
        completed = await show_events(client, thread_id, after=after, console=Console(), as_json=as_json)
        return 0 if completed else exit_codes.FAILED

    run_with_hub(_watch, url=url, token=token)


async def show_events(
    client: HubClient, thread_id: str, *, after: int, console: Console, as_json: bool = False
) -> bool:
    """Show a refinement until its terminal event. Returns whether it completed. Raises ClientError."""
    view = RefinementView(console)
    async for message in client.follow(thread_id, after):
        if as_json:
            for event in message.get("batch", {}).get("events", ()):
                console.file.write(json.dumps(event) + "\n")
                view.terminal = event.get("terminal", view.terminal)
            console.file.flush()
        else:
            view.show(message)
    return view.terminal is not None and view.terminal.get("outcome") == "OUTCOME_COMPLETED"
