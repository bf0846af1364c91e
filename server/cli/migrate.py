"""`ideo migrate`: the database's schema."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import click

from server.cli.environment import read_settings
from server.cli.event_loop import run_command
from server.db import migrate


def run(direction: str, *, steps: int) -> NoReturn:
    """Apply every missing migration (`up`), revert the last `steps` (`down`), or list them (`status`)."""
    settings = read_settings(require=("DATABASE_URL",))
    dsn = settings.database_url.get_secret_value() if settings.database_url else ""

    async def _migrate(_stop: asyncio.Event) -> int:
        if direction == "up":
            done = await migrate.up(dsn)
            click.echo("\n".join(f"applied {name}" for name in done) or "nothing to do")
        elif direction == "down":
            done = await migrate.down(dsn, steps)
            click.echo("\n".join(f"reverted {name}" for name in done) or "nothing to do")
        else:
            for migration in await migrate.status(dsn):
                status = "applied" if migration.applied else "missing"
                click.echo(f"{status}  {migration.id}  {migration.description}")
        return 0

    run_command(_migrate)
