"""`ideo watch`: a refinement's events in the terminal."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from contextlib import aclosing
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from ide_orchestrator.client import Fault, HubError, Unavailable
from server.cli import exit_codes
from server.cli.exit_codes import notice
from server.cli.hub_client import HubClient
from server.cli.hub_session import run_with_hub
from server.cli.outages import Outages
from server.cli.printable import json_line
from server.cli.terminal import RefinementView, open_console


def run(thread_id: str, *, after: int, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """Show the events of a thread after `after`, until the terminal event."""

    async def _watch(client: HubClient) -> int:
        completed = await show_events(
            client,
            thread_id,
            after=after,
            console=open_console(),
            as_json=as_json,
            resume_at=url or "",
            reached=False,
        )
        return 0 if completed else exit_codes.FAILED

    run_with_hub(_watch, url=url, token=token)


async def show_events(
    client: HubClient,
    thread_id: str,
    *,
    after: int,
    console: Console,
    as_json: bool = False,
    resume_at: str | None = None,
    reached: bool = True,
) -> bool:
    """Show a refinement until its terminal event. Returns whether it completed. Raises HubError.

    resume_at: when the command ends earlier, show the command that continues, with this address, unless it is
    empty; None: show nothing. reached: whether the hub has answered before; otherwise nothing is tried again
    until it has.
    """
    view = RefinementView(console, thread_id)
    view.last_seq = after

    outages = Outages(reached=reached)

    def _on_retry(why: HubError, pause_s: float) -> None:
        view.end_line()
        outages.lost(why, pause_s)

    try:
        async with aclosing(client.messages(thread_id, after, on_retry=_on_retry)) as messages:
            async for message in messages:
                outages.received(message)
                try:
                    _show(message, view, console, as_json=as_json)
                except (LookupError, TypeError, ValueError, AttributeError):
                    raise Fault("the hub sent an event that cannot be read") from None
    except (asyncio.CancelledError, HubError) as ended:
        view.end_line()
        final = isinstance(ended, HubError) and not (outages.reached and isinstance(ended, Unavailable))
        if resume_at is not None and view.terminal is None and not final:
            notice(f"continue with: {_command(thread_id, view.last_seq, resume_at, as_json=as_json)}")
        raise
    return view.terminal is not None and view.terminal.get("outcome") == "OUTCOME_COMPLETED"


def _show(message: dict[str, object], view: RefinementView, console: Console, *, as_json: bool) -> None:
    if not as_json:
        view.show(message)
        return
    batch: dict[str, list[dict[str, object]]] = message.get("batch", {})  # type: ignore[assignment]
    for event in batch.get("events", ()):
        console.file.write(json_line(event) + "\n")
        view.count(event)
    console.file.flush()


def _command(thread_id: str, after: int, url: str, *, as_json: bool) -> str:
    """The command that continues, by the name with which this one was started."""
    called = sys.argv[0]
    by_path = Path(called).name in ("ideo", "ide-orchestrator") and shutil.which(Path(called).name) != called
    arguments = [called if by_path else "ideo", "watch", thread_id, "--after", str(after)]
    return shlex.join([*arguments, *(["--url", url] if url else []), *(["--json"] if as_json else [])])
