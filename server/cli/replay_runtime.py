"""`ideo replay-runtime`: recorded runs, served as the runtime serves live ones."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import NoReturn

import click

from server.cli.event_loop import run_command
from server.observability.logs import configure_logging
from server.replay.server import replay_runtime


def run(frames: Path | None, *, host: str, port: int, default: str, chooses_ids: bool) -> NoReturn:
    """Serve until a signal. Prints `runtime ADDRESS` when it accepts connections."""
    configure_logging(dev=True, level=logging.WARNING)

    async def _serve(stop: asyncio.Event) -> int:
        async with replay_runtime(
            host, port, directory=frames, default=default, chooses_ids=chooses_ids
        ) as address:
            click.echo(f"runtime {address}/deepagents-runtime")
            await stop.wait()
        return 0

    run_command(_serve)
