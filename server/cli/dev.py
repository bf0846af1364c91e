"""`ideo dev`: everything on one machine with one command, and a demo refinement to look at.

Every part is real: an embedded PostgreSQL, the hub on its sockets and, unless a runtime is set, recorded
runs that are served through the runtime's own endpoints.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from rich.console import Console

from server.auth.secret_file import SecretFileError, create_secret
from server.auth.tokens import SharedSecret
from server.cli import exit_codes
from server.cli.database import open_database
from server.cli.environment import read_settings
from server.cli.event_loop import run_command, serve_until_stopped
from server.cli.exit_codes import CommandError
from server.cli.hub_client import ClientError, HubClient, open_client
from server.cli.refine import refine
from server.cli.terminal import printable, show_files
from server.compose import open_hub
from server.db import migrate
from server.lifecycle import Hub
from server.observability.logs import configure_logging
from server.replay.server import replay_runtime
from server.settings import Settings

DEMO_USER = "dev@example.com"
DEMO_PROMPT = "Create a research workflow. [[replay:short_run speed=4]]"
TOKEN_LIFETIME = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Demo:
    """What a developer needs to call the running hub."""

    hub: Hub
    token: str
    workflow_id: str


def run(*, once: bool, verbose: bool) -> NoReturn:
    """Start everything, show a refinement, then (unless `once`) serve until a signal."""
    settings = read_settings(env="dev")
    configure_logging(dev=True, level=logging.INFO if verbose else logging.WARNING)
    console = Console()

    async def _dev(stop: asyncio.Event) -> int:
        async with open_demo(settings, console) as demo:
            try:
                return await serve_until_stopped(_show(demo), stop)
            except ClientError as error:
                raise CommandError(printable(str(error))) from None

    async def _show(demo: Demo) -> int:
        proposal = await demo_refinement(demo, console)
        succeeded = proposal["status"] == "completed" and bool(proposal["generated_files"])
        if once or not succeeded:
            return 0 if succeeded else exit_codes.FAILED
        show_addresses(demo, console)
        await demo.hub.failed
        return exit_codes.FAILED

    run_command(_dev)


@contextlib.asynccontextmanager
async def open_demo(settings: Settings, console: Console) -> AsyncIterator[Demo]:
    """Start the parts one after another, with a line for each, and create a demo user and workflow."""

    def _say(text: str) -> None:
        console.print(f"{text} …", style="dim", markup=False, highlight=False)

    async with contextlib.AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(_database(settings, _say))
        settings, runtime_url = await _runtime(settings, stack, _say)
        settings = settings.model_copy(update={"drain_s": 0.0})
        verifier = SharedSecret(_secret(settings), settings.jwt_issuer, settings.jwt_audience)
        _say("Starting the hub")
        hub = await stack.enter_async_context(
            open_hub(settings, dsn=dsn, runtime_url=runtime_url, verifier=verifier)
        )
        token = verifier.issue(email=DEMO_USER, lifetime=TOKEN_LIFETIME, now=datetime.now(UTC))
        async with open_client(hub.http_address, token) as client:
            workflow_id = await demo_workflow(client)
        yield Demo(hub, token, workflow_id)


def _secret(settings: Settings) -> str:
    """The key of the settings, else one that is kept with the data. Raises CommandError."""
    if settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value()
    try:
        return create_secret(settings.data_dir)
    except (SecretFileError, OSError) as error:
        raise CommandError(str(error)) from None


@contextlib.asynccontextmanager
async def _database(settings: Settings, say: Callable[[str], None]) -> AsyncIterator[str]:
    """The DSN of a migrated database."""
    if settings.database_url is None:
        say(f"Starting PostgreSQL in {settings.data_dir / 'postgres'}")
    else:
        say("Using the PostgreSQL of DATABASE_URL")
    # Without sync, a crash of the machine in the first seconds may cost the new database, but no later data.
    async with open_database(settings, sync=False) as dsn:
        say("Applying migrations")
        await migrate.up(dsn)
        yield dsn


async def _runtime(
    settings: Settings, stack: contextlib.AsyncExitStack, say: Callable[[str], None]
) -> tuple[Settings, str]:
    """The runtime's address, with the settings that fit it: recorded runs unless a runtime is set."""
    if settings.runtime_url is not None:
        say(f"Using the runtime at {settings.runtime_url}")
        return settings, settings.runtime_url
    say("Starting a runtime that replays recorded runs")
    address = await stack.enter_async_context(replay_runtime())
    # Every subscriber gets the whole recording, and no frames are published to a channel.
    return settings.model_copy(update={"runtime_profile": "full", "runtime_events_url": None}), address


async def demo_workflow(client: HubClient) -> str:
    """The id of the demo user's newest workflow, which is created if there is none."""
    found = await client.call("GET", "/api/workflows?limit=1")
    for workflow in found["items"]:
        return str(workflow["id"])
    created = await client.call(
        "POST", "/api/workflows", {"name": "demo", "files": {"/THE_SPEC/constitution.md": "# Constitution\n"}}
    )
    return str(created["id"])


async def demo_refinement(demo: Demo, console: Console) -> dict[str, Any]:
    """Show one refinement live, and return its proposal."""
    console.print(f"[bold]A refinement:[/] {DEMO_PROMPT.partition(' [[')[0]}", highlight=False)
    async with open_client(demo.hub.http_address, demo.token) as client:
        proposal = await refine(client, demo.workflow_id, {"user_prompt": DEMO_PROMPT}, console=console)
    console.print(f"proposal {proposal['id']} is [bold]{proposal['status']}[/]:", highlight=False)
    show_files(proposal, console)
    return proposal


def show_addresses(demo: Demo, console: Console) -> None:
    """Print the addresses and two commands that are ready to paste."""
    console.print(f"\nHTTP  {demo.hub.http_address}\ngRPC  {demo.hub.grpc_address}", highlight=False)
    console.print("A token for twelve hours, and a refinement of your own:\n", highlight=False)
    lines = (
        f"export IDEO_URL={demo.hub.http_address} IDEO_TOKEN={demo.token}",
        f"curl -sS $IDEO_URL/api/workflows/{demo.workflow_id}/refinements "
        '-H "Authorization: Bearer $IDEO_TOKEN" '
        "-H 'Content-Type: application/json' -d '{\"user_prompt\":\"Add web search\"}'",
    )
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    console.print("\nCtrl-C stops everything.", highlight=False)
