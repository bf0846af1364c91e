"""`ideo serve`: the hub in production."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import NoReturn

import click
import structlog

from server.adapters import create_verifier
from server.cli import exit_codes
from server.cli.child import Assignment, stop_with_parent
from server.cli.database import check_places, open_database
from server.cli.environment import read_serving_settings, settings_error
from server.cli.event_loop import ending_when_cancelled, run_command, serve_until_stopped
from server.compose import open_hub
from server.db import migrate
from server.interpreter_tuning import settled_interpreter, share_heaps
from server.lifecycle import Hub
from server.observability.logs import configure_logging
from server.settings.loading import SettingsError


def run(*, embedded_database: bool, child: bool) -> NoReturn:
    """Serve until a signal. Prints `HTTP ADDRESS` and `gRPC ADDRESS` when it accepts connections.

    child: as one of the processes of a parent (`server.cli.processes`), until this has ended.
    """
    settings = read_serving_settings(embedded_database=embedded_database, about_names=not child)
    place = None
    if child:
        assignment = Assignment.read()
        settings, place = assignment.applied_to(settings), assignment.place
        structlog.contextvars.bind_contextvars(process=place.number)
    try:
        verifier = create_verifier(settings)
    except SettingsError as error:
        raise settings_error(error) from None
    configure_logging(dev=settings.dev)
    share_heaps()

    async def _serve() -> int:
        if place is None:
            check_places(settings)
        # The interpreter stays settled until the hub has drained: with thousands of readers a full collection
        # takes a quarter of a second.
        async with AsyncExitStack() as interpreter, AsyncExitStack() as stack:
            dsn = await stack.enter_async_context(open_database(settings))
            if settings.database_url is None:
                await migrate.up(dsn)
            opening = open_hub(
                settings, dsn=dsn, runtime_url=settings.runtime_url or "", verifier=verifier, place=place
            )
            hub = await stack.enter_async_context(opening)
            await interpreter.enter_async_context(settled_interpreter())
            click.echo(f"HTTP {hub.http_address}")
            click.echo(f"gRPC {hub.grpc_address}")
            return await ending_when_cancelled(failure(hub))

    async def _until_stopped(stop: asyncio.Event) -> int:
        if child:
            stop_with_parent(stop)
        return await serve_until_stopped(_serve(), stop)

    run_command(_until_stopped)


async def failure(hub: Hub) -> int:
    """Wait until a part of the hub fails, which it has logged by then."""
    await asyncio.wait({hub.failed})
    return exit_codes.FAILED
