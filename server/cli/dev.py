"""`ideo dev`: everything on one machine with one command, and a demo refinement to look at.

Real parts throughout: an embedded PostgreSQL, the hub on its real sockets, and, unless a runtime is
named, recorded runs served through the runtime's own endpoints.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import uvicorn
from pydantic import SecretStr
from rich.console import Console

from server.auth.tokens import SharedSecret
from server.cli.client import HubClient, open_client
from server.cli.terminal import refine, show_files
from server.compose import Hub, listening_socket, open_hub
from server.db.migrate import up
from server.embedded_postgres.server import embedded
from server.replay.app import create_replay_app
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


@contextlib.asynccontextmanager
async def replay_runtime(
    host: str = "127.0.0.1", port: int = 0, *, directory: Path | None = None, default: str = "short_run"
) -> AsyncIterator[str]:
    """The replay runtime on a socket of its own (`port` 0: a free one); its address."""
    listener = listening_socket(host, port)
    address = f"http://{host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        create_replay_app(directory, default=default), log_config=None, access_log=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield address
    finally:
        server.should_exit = server.force_exit = True
        await asyncio.gather(serving, return_exceptions=True)
        listener.close()


@contextlib.asynccontextmanager
async def open_dev(settings: Settings, console: Console) -> AsyncIterator[Demo]:
    """The whole of it, with a demo user and workflow."""
    async with contextlib.AsyncExitStack() as stack:
        if settings.database_url is None:
            console.print(f"[dim]PostgreSQL in {settings.data_dir} …[/]", highlight=False)
            dsn = await stack.enter_async_context(embedded(settings.data_dir / "postgres"))
        else:
            dsn = settings.database_url.get_secret_value()
        await up(dsn)
        runtime_url = settings.runtime_url
        if runtime_url is None:
            runtime_url = await stack.enter_async_context(replay_runtime())
            # The recordings are repeated whole to every subscriber, and published nowhere else.
            settings = settings.model_copy(update={"runtime_profile": "full", "runtime_events_url": None})
        settings = settings.model_copy(update={"drain_s": 0.0})
        secret = settings.jwt_secret or SecretStr(token_urlsafe(32))
        verifier = SharedSecret(secret.get_secret_value(), settings.jwt_issuer, settings.jwt_audience)
        hub = await stack.enter_async_context(
            open_hub(settings, dsn=dsn, runtime_url=runtime_url, verifier=verifier)
        )
        token = verifier.issue(email=DEMO_USER, lifetime=TOKEN_LIFETIME, now=datetime.now(UTC))
        async with open_client(hub.http_address, token) as client:
            workflow_id = await demo_workflow(client)
        yield Demo(hub, token, workflow_id)


async def demo_workflow(client: HubClient) -> str:
    """The demo user's workflow, made if there is none."""
    found = await client.call("GET", "/api/workflows?limit=1")
    for workflow in found["items"]:
        return str(workflow["id"])
    made = await client.call(
        "POST", "/api/workflows", {"name": "demo", "files": {"/THE_SPEC/constitution.md": "# Constitution\n"}}
    )
    return str(made["id"])


async def demo_refinement(demo: Demo, console: Console) -> dict[str, Any]:
    """One refinement, shown live; its proposal."""
    console.print(f"[bold]A refinement:[/] {DEMO_PROMPT.partition(' [[')[0]}", highlight=False)
    async with open_client(demo.hub.http_address, demo.token) as client:
        proposal = await refine(client, demo.workflow_id, {"user_prompt": DEMO_PROMPT}, console=console)
    console.print(f"proposal {proposal['id']} is [bold]{proposal['status']}[/]:", highlight=False)
    show_files(proposal, console)
    return proposal


def show_addresses(demo: Demo, console: Console) -> None:
    """What to call, ready to paste."""
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
    console.print("\nCtrl-C ends everything.", highlight=False)
