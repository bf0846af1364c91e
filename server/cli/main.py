"""The command line `ide-orchestrator`, short `ideo`.

Exit codes: 0 done, 1 failed, 2 wrong use or settings, 4 no or wrong token, 5 hub or database away.
Shell completion: `eval "$(_IDEO_COMPLETE=bash_source ideo)"` (also `zsh_source`, `fish_source`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import click
import uvloop
from rich.console import Console

from server import settings as settings_module
from server.auth.tokens import SharedSecret
from server.cli.client import ClientError, open_client
from server.cli.dev import demo_refinement, open_dev, replay_runtime, show_addresses
from server.cli.doctor import Finding, examine, of_settings
from server.cli.terminal import refine as refine_live
from server.cli.terminal import show_files
from server.cli.terminal import watch as watch_live
from server.compose import NotMigrated, open_hub, verifier_of
from server.db import migrate as migrations
from server.domain.errors import DatabaseUnavailable
from server.embedded_postgres.server import embedded
from server.observability.logs import configure_logging
from server.settings import ClientSettings, Settings, SettingsError

EXIT_FAILED, EXIT_USAGE, EXIT_AUTH, EXIT_AWAY = 1, 2, 4, 5

_DURATION = re.compile(r"^(\d+)([smhd])$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """Say what is wrong and leave."""
    click.echo(f"ideo: {message}", err=True)
    sys.exit(code)


def read_settings(
    *, require: tuple[str, ...] = (), in_prod: tuple[str, ...] = (), **overrides: Any
) -> Settings:
    """The settings, or every mistake in them and exit 2."""
    try:
        return settings_module.load(require=require, in_prod=in_prod, **overrides)
    except SettingsError as error:
        wrong_settings(error)


def wrong_settings(error: SettingsError) -> NoReturn:
    """Say every mistake and leave with 2."""
    for problem in error.problems:
        click.echo(f"ideo: {problem}", err=True)
    sys.exit(EXIT_USAGE)


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run a command's coroutine; SIGINT and SIGTERM set its event. Exits with its code."""

    async def _guarded() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        return await main(stop)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            sys.exit(runner.run(_guarded()))
    except DatabaseUnavailable:
        fail("the database is not available: check DATABASE_URL", EXIT_AWAY)
    except NotMigrated as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename or 'check IDEO_HOST and the ports'}")


async def until_stopped(work: Awaitable[int], stop: asyncio.Event) -> int:
    """Do the work, or leave it when told to stop: then 130, as shells have it."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return 130
    stopped.cancel()
    return task.result()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ide-orchestrator")
def main() -> None:
    """The hub between browser IDEs, internal services and deepagents-runtime."""


@main.command()
@click.option("--once", is_flag=True, help="Stop after the demo refinement; exit 0 only if it completed.")
@click.option("--verbose", is_flag=True, help="Show the hub's own log too.")
def dev(once: bool, verbose: bool) -> None:
    """Start everything on this machine and show a refinement."""
    settings = read_settings(env="dev")
    configure_logging(dev=True, level=20 if verbose else 30)
    console = Console()

    async def _work(stop: asyncio.Event) -> int:
        async with open_dev(settings, console) as demo:

            async def _show() -> int:
                proposal = await demo_refinement(demo, console)
                done = proposal["status"] == "completed" and bool(proposal["generated_files"])
                if once or not done:
                    return 0 if done else EXIT_FAILED
                show_addresses(demo, console)
                await demo.hub.failed
                return EXIT_FAILED

            try:
                code = await until_stopped(_show(), stop)
            except ClientError as error:
                click.echo(f"ideo: {error}", err=True)
                return EXIT_FAILED
            return 0 if code == 130 else code

    run(_work)


@main.command()
@click.option("--embedded-database", is_flag=True, help="Use an embedded PostgreSQL in IDEO_DATA_DIR.")
def serve(embedded_database: bool) -> None:
    """Serve in production: HTTP and gRPC, on a migrated database."""
    settings = read_settings(
        require=("DEEPAGENTS_RUNTIME_URL",),
        in_prod=("IDEO_JWKS_URL",) if embedded_database else ("DATABASE_URL", "IDEO_JWKS_URL"),
    )
    try:
        verifier = verifier_of(settings)
    except SettingsError as error:
        wrong_settings(error)
    configure_logging(dev=settings.dev)

    async def _work(stop: asyncio.Event) -> int:
        async with contextlib.AsyncExitStack() as stack:
            if settings.database_url is None:
                dsn = await stack.enter_async_context(embedded(settings.data_dir / "postgres"))
                await migrations.up(dsn)
            else:
                dsn = settings.database_url.get_secret_value()
            hub = await stack.enter_async_context(
                open_hub(
                    settings,
                    dsn=dsn,
                    runtime_url=settings.runtime_url or "",
                    verifier=verifier,
                )
            )
            click.echo(f"HTTP {hub.http_address}")
            click.echo(f"gRPC {hub.grpc_address}")
            code = await until_stopped(_failed(hub.failed), stop)
            return 0 if code == 130 else code

    run(_work)


async def _failed(failed: asyncio.Future[None]) -> int:
    try:
        await failed
    except Exception:
        return EXIT_FAILED
    return 0


@main.command("replay-runtime")
@click.option(
    "--frames",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Recordings: DIR/NAME.jsonl.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option(
    "--default", "default", default="short_run", show_default=True, help="Recording without a directive."
)
def replay_command(frames: Path | None, host: str, port: int, default: str) -> None:
    """Serve recorded runs through the runtime's endpoints.

    A prompt picks the recording: `[[replay:NAME speed=10]]`.
    """
    configure_logging(dev=True, level=30)

    async def _work(stop: asyncio.Event) -> int:
        async with replay_runtime(host, port, directory=frames, default=default) as address:
            click.echo(f"runtime {address}/deepagents-runtime")
            await stop.wait()
        return 0

    run(_work)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print findings as JSON, one a line.")
def doctor(as_json: bool) -> None:
    """Look at all that the hub needs, and say what is wrong and how to mend it. Changes nothing."""
    configure_logging(dev=True, level=50)
    try:
        settings = settings_module.load(
            require=("DEEPAGENTS_RUNTIME_URL",), in_prod=("DATABASE_URL", "IDEO_JWKS_URL")
        )
    except SettingsError as error:
        for finding in of_settings(error):
            _show(finding, as_json=as_json)
        sys.exit(EXIT_USAGE)

    async def _work(stop: asyncio.Event) -> int:
        async with contextlib.AsyncExitStack() as stack:
            if settings.database_url is None:
                dsn = await stack.enter_async_context(embedded(settings.data_dir / "postgres"))
            else:
                dsn = settings.database_url.get_secret_value()

            async def _examine() -> int:
                ill = 0
                async for finding in examine(settings, dsn):
                    _show(finding, as_json=as_json)
                    ill += not finding.well
                if not as_json:
                    click.echo("all is well" if not ill else f"{ill} to mend")
                return EXIT_FAILED if ill else 0

            return await until_stopped(_examine(), stop)

    run(_work)


def _show(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        told = {"check": finding.check, "well": finding.well, "told": finding.told, "mend": finding.mend}
        click.echo(json.dumps(told))
        return
    click.echo(f"{'ok' if finding.well else 'BAD':3}  {finding.check:12} {finding.told}")
    if not finding.well:
        click.echo(f"     {'':12} mend: {finding.mend}")


@main.command()
@click.argument("direction", type=click.Choice(["up", "down", "status"]))
@click.option("--steps", type=click.IntRange(1), default=1, show_default=True, help="How many to take back.")
def migrate(direction: str, steps: int) -> None:
    """Bring the database's schema up, take it down, or show where it stands."""
    settings = read_settings(require=("DATABASE_URL",))
    dsn = settings.database_url.get_secret_value() if settings.database_url else ""

    async def _work(_stop: asyncio.Event) -> int:
        if direction == "up":
            done = await migrations.up(dsn)
            click.echo("\n".join(f"applied {name}" for name in done) or "nothing to do")
        elif direction == "down":
            done = await migrations.down(dsn, steps)
            click.echo("\n".join(f"took back {name}" for name in done) or "nothing to do")
        else:
            for migration in await migrations.status(dsn):
                stands = "applied" if migration.applied else "missing"
                click.echo(f"{stands}  {migration.id}  {migration.description}")
        return 0

    run(_work)


@main.command()
@click.option("--user", "email", required=True, help="The user's email.")
@click.option("--ttl", default="1h", show_default=True, help="How long it lives: 30s, 15m, 1h, 7d.")
def token(email: str, ttl: str) -> None:
    """Make a token for development, signed with IDEO_JWT_SECRET."""
    settings = read_settings(require=("IDEO_JWT_SECRET",), env="dev")
    match = _DURATION.match(ttl)
    if not match:
        fail(f"--ttl {ttl!r} is no time: write 30s, 15m, 1h or 7d", EXIT_USAGE)
    if "@" not in email:
        fail(f"--user {email!r} is no email", EXIT_USAGE)
    lifetime = timedelta(**{_UNITS[match[2]]: int(match[1])})
    secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else ""
    verifier = SharedSecret(secret, settings.jwt_issuer, settings.jwt_audience)
    click.echo(verifier.issue(email=email, lifetime=lifetime, now=datetime.now(UTC)))


def client_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that talk to a running hub."""
    command = click.option("--json", "as_json", is_flag=True, help="Print events as JSON, one a line.")(
        command
    )
    command = click.option("--url", help="The hub; default IDEO_URL or http://127.0.0.1:8080.")(command)
    return click.option("--token", "bearer", help="The token; better set IDEO_TOKEN.")(command)


def _client_settings(url: str | None, bearer: str | None) -> tuple[str, str]:
    found = ClientSettings()
    secret = bearer or (found.token.get_secret_value() if found.token else "")
    if not secret:
        fail("no token: set IDEO_TOKEN or give --token", EXIT_AUTH)
    return url or found.url, secret


def _refused(error: ClientError) -> int:
    click.echo(f"ideo: {error}", err=True)
    if str(error).startswith(("401", "403")):
        return EXIT_AUTH
    return EXIT_AWAY if error.unavailable else EXIT_FAILED


@main.command()
@click.argument("prompt")
@click.option("--workflow", "workflow_id", help="The workflow (UUID); default: your newest.")
@click.option("--file", "context_file_path", help="The file that it is about.")
@click.option("--lines", "context_selection", help="The lines that it is about: `lines 10-25`.")
@client_options
def refine(
    prompt: str,
    workflow_id: str | None,
    context_file_path: str | None,
    context_selection: str | None,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """Start a refinement, show it live, list its files. Exit 0 if it completed."""
    address, secret = _client_settings(url, bearer)
    console = Console()
    body = {
        "user_prompt": prompt,
        "context_file_path": context_file_path,
        "context_selection": context_selection,
    }

    async def _work() -> int:
        async with open_client(address, secret) as client:
            workflow = workflow_id
            if workflow is None:
                items = (await client.call("GET", "/api/workflows?limit=1"))["items"]
                if not items:
                    raise ClientError("you have no workflow: make one with POST /api/workflows")
                workflow = items[0]["id"]
            wanted = {name: value for name, value in body.items() if value is not None}
            proposal = await refine_live(client, workflow, wanted, console=console, as_json=as_json)
            if not as_json:
                show_files(proposal, console)
            return 0 if proposal["status"] == "completed" else EXIT_FAILED

    run(lambda stop: _calling(_work, stop))


@main.command()
@click.argument("thread")
@click.option(
    "--after", type=click.IntRange(0), default=0, show_default=True, help="The last seq that you have."
)
@client_options
def watch(thread: str, after: int, url: str | None, bearer: str | None, as_json: bool) -> None:
    """Show a refinement's events, past and coming. Exit 0 if it completed."""
    address, secret = _client_settings(url, bearer)
    console = Console()

    async def _work() -> int:
        async with open_client(address, secret) as client:
            done = await watch_live(client, thread, after=after, console=console, as_json=as_json)
            return 0 if done else EXIT_FAILED

    run(lambda stop: _calling(_work, stop))


async def _calling(work: Callable[[], Coroutine[Any, Any, int]], stop: asyncio.Event) -> int:
    try:
        return await until_stopped(work(), stop)
    except ClientError as error:
        return _refused(error)
