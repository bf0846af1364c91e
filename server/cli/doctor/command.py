"""`ideo doctor`: what is wrong with an installation, and how to fix it.

Each check looks at one thing that the hub needs, with the hub's own parts, and reports its finding in a line.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from typing import NoReturn

from server.cli import exit_codes
from server.cli.database import embedded_dir
from server.cli.doctor import database, machine, services
from server.cli.doctor.finding import Check, Finding
from server.cli.event_loop import run_command, until_stopped
from server.cli.printable import counted, json_line, printable
from server.db.errors import reason_of
from server.domain.errors import DatabaseUnavailable
from server.embedded_postgres.server import running_dsn
from server.observability.logs import configure_logging
from server.settings.loading import SettingsError, known_names, load
from server.settings.names import old_names_in_use, unknown_names
from server.settings.settings import Settings
from server.settings.sources import read_sources

#: What is said of an embedded server that nobody has started: to start it would change its data.
NOT_RUNNING = "the embedded PostgreSQL is not running; `ideo dev` starts it, and applies the migrations"

#: How the problem ends of a setting that is not there (`server.settings.loading`).
_MISSING = ": is required"

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
    services.check_tokens,
    services.check_runtime,
    services.check_events,
    machine.check_origins,
    machine.check_descriptors,
    machine.check_ports,
    machine.check_certificate,
    machine.check_compiled,
)


def run(*, as_json: bool) -> NoReturn:
    """Print every finding; exit 1 when something is wrong, 2 when the settings are."""
    configure_logging(dev=True, level=logging.CRITICAL)
    unreadable = read_sources(dev=False)
    try:
        settings = load(in_prod=("DATABASE_URL", "IDEO_JWKS_URL", "DEEPAGENTS_RUNTIME_URL"))
    except SettingsError as error:
        unreadable += error.problems
    if unreadable:
        wrong = findings_of(unreadable)
        for finding in (*wrong, *findings_about_names()):
            _print(finding, as_json=as_json)
        if not as_json and any(finding.message.endswith(_MISSING) for finding in wrong):
            print(
                "     a hub that `ideo dev` runs needs none of these: check it with IDEO_ENV=dev ideo doctor"
            )
        sys.exit(exit_codes.USAGE)

    async def _doctor(stop: asyncio.Event) -> int:
        return await until_stopped(_examine(settings, as_json=as_json), stop)

    run_command(_doctor)


async def _examine(settings: Settings, *, as_json: bool) -> int:
    wrong = 0
    dsn = (
        settings.database_url.get_secret_value()
        if settings.database_url
        else running_dsn(embedded_dir(settings))
    )
    async for finding in examine(settings, dsn):
        _print(finding, as_json=as_json)
        wrong += not finding.ok
    if not as_json:
        print(f"{counted(wrong, 'problem')} to fix" if wrong else "everything is ok")
    return exit_codes.FAILED if wrong else 0


async def examine(settings: Settings, dsn: str | None) -> AsyncIterator[Finding]:
    """Every finding, as soon as its check is done.

    dsn: the database of the settings; None: an embedded one that does not run, and is not started.
    """
    for finding in findings_about_names():
        yield finding
    if dsn is None:
        reachable = Finding("database", NOT_RUNNING)
    else:
        reachable = await database.check_database(settings, dsn)
    yield reachable
    for check in (*(_DATABASE_CHECKS if dsn and reachable.ok else ()), *_OTHER_CHECKS):
        yield await examined(check, settings, dsn or "")


async def examined(check: Check, settings: Settings, dsn: str) -> Finding:
    """The check's finding; that it could not be made when it fails, such as for a database that went away."""
    name = check.__name__.removeprefix("check_")
    try:
        return await check(settings, dsn)
    except DatabaseUnavailable as error:
        why = f"the database refused it ({reason_of(error)})"
    except Exception as error:
        why = f"it failed ({type(error).__name__})"
    return Finding(
        name, f"could not be checked: {why}", "run `ideo doctor` again, and report it if it happens again"
    )


def findings_of(problems: list[str]) -> list[Finding]:
    """A finding for each mistake in the settings. What IDEO_ENV decides is not known while it is wrong."""
    wrong_environment = [problem for problem in problems if problem.startswith("IDEO_ENV: ")]
    about = "docs/reference/settings.md describes every setting"
    return [
        Finding("settings", problem, f"{'set' if problem.endswith(_MISSING) else 'correct'} it; {about}")
        for problem in wrong_environment or problems
    ]


def findings_about_names() -> list[Finding]:
    """A finding for each setting that has its old name in the environment, and for each unknown name."""
    renamed = [
        Finding("settings", f"{old} has been renamed", f"set {new} instead")
        for old, new in old_names_in_use().items()
    ]
    return renamed + [
        Finding(
            "settings",
            f"{name} is not a setting, and is ignored",
            f"set {alike} instead" if alike else f"unset {name}",
        )
        for name, alike in unknown_names(known_names()).items()
    ]


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        line = {"check": finding.check, "ok": finding.ok, "message": finding.message, "fix": finding.fix}
        print(json_line(line))
        return
    print(f"{'ok' if finding.ok else 'BAD':3}  {finding.check:12} {printable(finding.message)}")
    if not finding.ok:
        print(f"     {'':12} fix: {printable(finding.fix)}")
