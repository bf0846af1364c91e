"""`ideo replay-runtime`: recorded runs, served as the runtime serves live ones."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NoReturn

import click

from server.addresses import listening
from server.cli import exit_codes
from server.cli.event_loop import run_command
from server.cli.exit_codes import CommandError
from server.observability.logs import configure_logging
from server.replay.recording import RecordingError
from server.replay.server import replay_runtime


def run(frames: Path | None, *, host: str, port: int, default: str | None, chooses_ids: bool) -> NoReturn:
    """Serve until a signal. Prints `runtime ADDRESS` when it accepts connections."""
    configure_logging(dev=True, level=logging.WARNING)

    async def _serve(stop: asyncio.Event) -> int:
        async with AsyncExitStack() as stack:
            opening = replay_runtime(host, port, directory=frames, default=default, chooses_ids=chooses_ids)
            try:
                address = await stack.enter_async_context(opening)
            except RecordingError as error:
                raise CommandError(str(error), exit_code=exit_codes.USAGE) from None
            except (OSError, UnicodeError) as error:
                raise CommandError(
                    f"cannot listen on {host}:{port} ({listening.refusal(error)}): "
                    + listening.remedy(error, host="--host", port="--port")
                ) from None
            click.echo(f"runtime {address}/deepagents-runtime")
            await stop.wait()
        return 0

    run_command(_serve)
