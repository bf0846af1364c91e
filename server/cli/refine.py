"""`ideo refine`: start a refinement and show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from rich.console import Console

from ide_orchestrator.client import Refused
from ide_orchestrator.client.http_calls import PAGE, member
from server.cli import exit_codes
from server.cli.hub_client import HubClient
from server.cli.hub_session import run_with_hub
from server.cli.proposal import address
from server.cli.terminal import open_console, show_files
from server.cli.watch import show_events


def run(
    request: dict[str, Any], *, workflow_id: str | None, url: str | None, token: str | None, as_json: bool
) -> NoReturn:
    """Start a refinement (default: in the newest workflow that can be refined), show it, list its files."""
    console = open_console()

    async def _refine(client: HubClient) -> int:
        workflow = workflow_id or await _newest_workflow(client)
        proposal = await refine(
            client, workflow, request, console=console, as_json=as_json, resume_at=url or ""
        )
        if not as_json:
            show_files(proposal, console)
        return 0 if member(proposal, "status") == "completed" else exit_codes.FAILED

    run_with_hub(_refine, url=url, token=token)


async def refine(
    client: HubClient,
    workflow_id: str,
    request: dict[str, Any],
    *,
    console: Console,
    as_json: bool = False,
    resume_at: str | None = None,
) -> dict[str, Any]:
    """Start a refinement, show it live, and return its proposal. `resume_at`: see `show_events`.

    Raises HubError.
    """
    started = await client.start(workflow_id, **request)
    return await show_refinement(client, started, console=console, as_json=as_json, resume_at=resume_at)


async def show_refinement(
    client: HubClient,
    started: Mapping[str, Any],
    *,
    console: Console,
    as_json: bool = False,
    resume_at: str | None = None,
) -> dict[str, Any]:
    """Show a refinement live that was started with this answer, and return its proposal. `resume_at`: see
    `show_events`.

    Raises HubError.
    """
    thread_id, proposal_id = str(member(started, "thread_id")), str(member(started, "proposal_id"))
    await show_events(client, thread_id, after=0, console=console, as_json=as_json, resume_at=resume_at)
    proposal: dict[str, Any] = await client.call("GET", address(proposal_id))
    return proposal


async def _newest_workflow(client: HubClient) -> str:
    """The newest workflow that can be refined. Raises HubError."""
    async for workflow in client.items("/api/workflows", limit=PAGE):
        if not member(workflow, "locked") and not member(workflow, "archived"):
            return str(member(workflow, "id"))
    raise Refused("you have no workflow that can be refined: create one with POST /api/workflows")
