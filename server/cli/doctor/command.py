"""`ideo doctor`: what is wrong with an installation, and how to fix it.

Each check looks at one thing that the hub needs, with the hub's own parts, and reports its finding in a line.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from typing import NoReturn

import click

from server.cli import exit_codes
from server.cli.database import open_database
from server.cli.doctor import database, machine, services
from server.cli.doctor.finding import Check, Finding
from server.cli.event_loop import run_command, until_stopped
from server.cli.terminal import printable
from server.observability.logs import configure_logging
from server.settings import Settings, SettingsError, load, old_names_in_use

#: The checks, in order. Those of the database are skipped when it cannot be reached.
_DATABASE_CHECKS: tuple[Check, ...] = (
    database.check_migrations,
    database.check_rights,
    database.check_connections,
    database.check_clock,
    services.check_wakeups,
)
_OTHER_CHECKS: tuple[Check, ...] = (
    services.check_keys,
    services.check_runtime,
    services.check_events,
    machine.check_origins,
    machine.check_ports,
    machine.check_certificate,
)


def run(*, as_json: bool) -> NoReturn:
    """Print every finding; exit 1 when something is wrong, 2 when the settings are."""
    configure_logging(dev=True, level=logging.CRITICAL)
    try:
        settings = load(require=("DEEPAGENTS_RUNTIME_URL",), in_prod=("DATABASE_URL", "IDEO_JWKS_URL"))
    except SettingsError as error:
        for finding in (*findings_of(error), *old_names()):
            _print(finding, as_json=as_json)
        sys.exit(exit_codes.USAGE)

    async def _doctor(stop: asyncio.Event) -> int:
        async with open_database(settings) as dsn:
            return await until_stopped(_examine(settings, dsn, as_json=as_json), stop)

    run_command(_doctor)


async def _examine(settings: Settings, dsn: str, *, as_json: bool) -> int:
    wrong = 0
    async for finding in examine(settings, dsn):
        _print(finding, as_json=as_json)
        wrong += not finding.ok
    if not as_json:
        click.echo(f"{wrong} to fix" if wrong else "everything is ok")
    return exit_codes.FAILED if wrong else 0


async def examine(settings: Settings, dsn: str) -> AsyncIterator[Finding]:
    """Every finding, as soon as its check is done. `dsn`: the database of the settings."""
    for finding in old_names():
        yield finding
    reachable = await database.check_database(settings, dsn)
    yield reachable
    for check in (*(_DATABASE_CHECKS if reachable.ok else ()), *_OTHER_CHECKS):
        yield await check(settings, dsn)


def findings_of(error: SettingsError) -> list[Finding]:
    """A finding for each mistake in the settings."""
    return [
        Finding("settings", problem, "correct it; docs/reference/settings.md describes every setting")
        for problem in error.problems
    ]


def old_names() -> list[Finding]:
    """A finding for each setting that has its old name in the environment."""
    return [
        Finding("settings", f"{old} has been renamed", f"set {new} instead")
        for old, new in old_names_in_use().items()
    ]


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        line = {"check": finding.check, "ok": finding.ok, "message": finding.message, "fix": finding.fix}
        click.echo(json.dumps(line))
        return
    click.echo(f"{'ok' if finding.ok else 'BAD':3}  {finding.check:12} {printable(finding.message)}")
    if not finding.ok:
        click.echo(f"     {'':12} fix: {finding.fix}")
