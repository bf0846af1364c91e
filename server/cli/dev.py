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
from typing import NoReturn

from rich.console import Console

from ide_orchestrator.client import HubError
from server.auth.secret_file import SecretFileError, create_secret
from server.auth.tokens import SharedSecret
from server.cli import exit_codes
from server.cli.database import check_places, embedded_dir, open_database
from server.cli.environment import read_settings
from server.cli.event_loop import ending_when_cancelled, run_command, serve_until_stopped, until_stopped
from server.cli.exit_codes import CommandError, notice
from server.cli.hub_client import HubClient, open_client
from server.cli.printable import printable
from server.cli.refine import refine
from server.cli.restartable_hub import RestartableHub
from server.cli.terminal import markup, open_console, show_files
from server.db import migrate
from server.observability.logs import configure_logging
from server.replay.app import USUAL
from server.replay.recording import read_recordings
from server.replay.server import replay_runtime
from server.settings.settings import Settings
from server.start_error import StartError

DEMO_USER = "dev@example.com"
#: The demo has a workflow of its own: it starts nothing in the user's.
DEMO_WORKFLOW = "demo of ideo dev"
DEMO_PROMPT = "Create a research workflow."
#: What the runtime of recorded runs reads from a prompt; any other runtime gets the prompt alone.
DEMO_RECORDING = " [[replay:short_run speed=4]]"
TOKEN_LIFETIME = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Demo:
    """What a developer needs to call the running hub. `replayed`: whether its runs are recorded ones.
    `workbench`: whether `/` is the workbench."""

    hub: RestartableHub
    runtime_url: str
    token: str
    workflow_id: str
    replayed: bool
    workbench: bool


def run(*, once: bool, demo: bool | None, verbose: bool) -> NoReturn:
    """Start everything and show a refinement; unless `once`, print the addresses before it, and serve until a
    signal after it.

    demo: whether a refinement is shown; None: with recorded runs, and with `once`.
    """
    settings = read_settings(env="dev")
    level = logging.INFO if verbose else logging.WARNING
    configure_logging(dev=True, level=level)
    if not verbose:
        # A busy machine delays the event loop; a developer need not hear of it.
        logging.getLogger("server.loop").setLevel(logging.ERROR)
    console = open_console()

    async def _dev() -> int:
        async with open_demo(settings, console) as opened:
            return await ending_when_cancelled(_show(opened))

    async def _show(opened: Demo) -> int:
        if not once:
            show_addresses(opened, console)
        wanted = opened.replayed or once if demo is None else demo
        # The demo is not interrupted by warnings, such as those of runs that an earlier hub left behind.
        logging.getLogger().setLevel(level if verbose else logging.ERROR)
        succeeded = await demo_succeeds(opened, console) if wanted else True
        logging.getLogger().setLevel(level)
        if once:
            return 0 if succeeded else exit_codes.FAILED
        console.print("\nPress Ctrl-C to stop everything.")
        await asyncio.wait({opened.hub.failed})
        fault = opened.hub.failed.exception()
        named = str(fault) if isinstance(fault, StartError) else "the line above names it"
        notice(f"a part of the hub failed: {named}; start it again")
        return exit_codes.FAILED

    def _on_stop() -> None:
        console.print("\nStopping …", style="dim")

    async def _until_stopped(stop: asyncio.Event) -> int:
        try:
            return await (until_stopped if once else serve_until_stopped)(_dev(), stop, on_stop=_on_stop)
        except HubError as error:
            raise CommandError(str(error)) from None

    run_command(_until_stopped)


@contextlib.asynccontextmanager
async def open_demo(settings: Settings, console: Console, replay: str | None = None) -> AsyncIterator[Demo]:
    """Start the parts one after another, with a line for each, and create a demo user and workflow.

    replay: the address of a runtime that replays recorded runs, instead of the settings' runtime.
    """

    def _say(text: str) -> None:
        console.print(f"{text} …", style="dim", markup=False)

    check_places(settings)
    async with contextlib.AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(_database(settings, _say))
        replayed = replay is not None or settings.runtime_url is None
        settings, runtime_url = await _runtime(settings, replay, stack, _say)
        settings = settings.model_copy(
            update={
                "drain_s": 0.0,
                "workbench": _workbench(settings),
                "operators": settings.operators or (DEMO_USER,),
            }
        )
        verifier = SharedSecret(_secret(settings), settings.jwt_issuer, settings.jwt_audience)
        _say("Starting the hub")
        hub = await stack.enter_async_context(
            RestartableHub(
                settings,
                dsn=dsn,
                runtime_url=runtime_url,
                verifier=verifier,
                say=_say,
                recordings=_recordings() if replayed else (),
            ).running()
        )
        token = verifier.issue(email=DEMO_USER, lifetime=TOKEN_LIFETIME, now=datetime.now(UTC))
        async with open_client(hub.http_address, token) as client:
            workflow_id = await demo_workflow(client)
        yield Demo(hub, runtime_url, token, workflow_id, replayed, settings.workbench)


def _recordings() -> list[str]:
    """The names of the recorded runs, the default first, without what only follows a reply."""
    names = [name for name in read_recordings() if "." not in name]
    return sorted(names, key=lambda name: (name != USUAL, name))


def _workbench(settings: Settings) -> bool:
    """Whether `/` is the workbench: here by default."""
    return settings.workbench or "workbench" not in settings.model_fields_set


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
        say(f"Starting PostgreSQL in {printable(str(embedded_dir(settings)))}")
    else:
        say("Using the PostgreSQL of DATABASE_URL")
    # Without sync, a crash of the machine in the first seconds may cost the new database, but no later data.
    async with open_database(settings, sync=False) as dsn:
        say("Applying migrations")
        await migrate.up(dsn)
        yield dsn


async def _runtime(
    settings: Settings, replay: str | None, stack: contextlib.AsyncExitStack, say: Callable[[str], None]
) -> tuple[Settings, str]:
    """The runtime's address, with the settings that fit it: recorded runs unless a runtime is set."""
    if replay is None and settings.runtime_url is not None:
        say(f"Using the runtime at {settings.runtime_url}")
        return settings, settings.runtime_url
    if replay is None:
        say("Starting a runtime that replays recorded runs")
        replay = await stack.enter_async_context(replay_runtime())
    # Every subscriber gets the whole recording, no frames are published to a channel, and a recording may go
    # on with a reply.
    replayed = {
        "runtime_kind": "deepagents-runtime",
        "runtime_profile": "full",
        "runtime_events_url": None,
        "runtime_can_resume": True,
    }
    return settings.model_copy(update=replayed), replay


async def demo_workflow(client: HubClient) -> str:
    """The id of the demo's workflow, which is created if it is not among the user's newest."""
    found = await client.call("GET", "/api/workflows?limit=200")
    for workflow in found["items"]:
        if workflow["name"] == DEMO_WORKFLOW:
            return str(workflow["id"])
    files = {"/THE_SPEC/constitution.md": "# Constitution\n"}
    created = await client.call("POST", "/api/workflows", {"name": DEMO_WORKFLOW, "files": files})
    return str(created["id"])


async def show_replay(replay: str, name: str, *, once: bool) -> int:
    """Show the run of a runtime that replays recorded ones through a hub of its own, then, unless `once`,
    serve until the task is cancelled. Returns the exit code: with `once` 0 only if the run completed.

    replay: the runtime's address. name: of its recording.
    """
    settings, console = read_settings(env="dev"), open_console()
    try:
        async with open_demo(settings, console, replay) as demo:
            if not once:
                show_addresses(demo, console)
            succeeded = await _refinement_succeeds(demo, f"Replay of {name}", console)
            if once:
                return 0 if succeeded else exit_codes.FAILED
            await asyncio.wait({demo.hub.failed})
            return exit_codes.FAILED
    except HubError as error:
        raise CommandError(str(error)) from None


async def demo_succeeds(demo: Demo, console: Console) -> bool:
    """Show one refinement live. Returns whether it completed with files; says why when the hub refused it."""
    console.print(f"\n[bold]A refinement:[/] {DEMO_PROMPT}")
    return await _refinement_succeeds(demo, DEMO_PROMPT + (DEMO_RECORDING if demo.replayed else ""), console)


async def _refinement_succeeds(demo: Demo, prompt: str, console: Console) -> bool:
    try:
        async with open_client(demo.hub.http_address, demo.token) as client:
            proposal = await refine(client, demo.workflow_id, {"user_prompt": prompt}, console=console)
    except HubError as error:
        where = (
            f" (DEEPAGENTS_RUNTIME_URL is {demo.runtime_url})" if error.code.startswith("runtime_") else ""
        )
        notice(f"the demo refinement failed: {error}{where}")
        return False
    console.print(f"proposal {markup(proposal['id'])} is [bold]{markup(proposal['status'])}[/]:")
    show_files(proposal, console)
    return proposal["status"] == "completed" and bool(proposal["generated_files"])


def show_addresses(demo: Demo, console: Console) -> None:
    """Print the addresses and two commands that are ready to paste."""
    if demo.workbench:
        console.print(
            f"\nThe workbench, for your browser:\n\n{demo.hub.http_address}/#token={demo.token}", markup=False
        )
    console.print(f"\nHTTP  {demo.hub.http_address}\ngRPC  {demo.hub.grpc_address}")
    console.print("For a second terminal: a token for twelve hours, and a refinement of your own:\n")
    prompt = "Add web search" + (DEMO_RECORDING if demo.replayed else "")
    lines = (
        f"export IDEO_URL={demo.hub.http_address} IDEO_TOKEN={demo.token}",
        f"curl -sS $IDEO_URL/api/workflows/{demo.workflow_id}/refinements "
        '-H "Authorization: Bearer $IDEO_TOKEN" '
        f"-H 'Content-Type: application/json' -d '{{\"user_prompt\":\"{prompt}\"}}'",
    )
    for line in lines:
        console.print(line, markup=False)
