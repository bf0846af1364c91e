"""Migrations, run in-process: up, down, status.

The files are Piccolo's, so its command line works on them too. The loop is ours: Piccolo's own one
finds its engine through the environment, prints, and commits a migration apart from the note that
it ran. Here one transaction holds both, under an advisory lock, so that replicas that start
together are safe, through a transaction pooler as well.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import asyncpg
from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.tables import Migration

from server.db import migrations
from server.db.engine import ENGINE
from server.db.errors import database_errors

#: Names our advisory lock among those of the database. Any constant will do.
LOCK_KEY = 0x1DE0_0C4E

#: Milliseconds to wait for another replica's migration, and for a table that is in use.
LOCK_WAIT_MS = 120_000
TABLE_WAIT_MS = 10_000

APP_NAME = "ide_orchestrator"


@dataclass(frozen=True, slots=True)
class MigrationState:
    """One migration: its id, what it does, and whether it is applied."""

    id: str
    description: str
    applied: bool


async def up(dsn: str) -> list[str]:
    """Apply every migration not yet applied; their ids, in order. All of them or none.

    Raises DatabaseUnavailable, also when a lock is not to be had in time.
    """
    async with _locked(dsn):
        applied = set(await _applied())
        todo = [manager for manager in await _managers() if manager.migration_id not in applied]
        for manager in todo:
            await _run(manager.raw)
            await Migration.insert(Migration(name=manager.migration_id, app_name=APP_NAME))
        return [manager.migration_id for manager in todo]


async def down(dsn: str, steps: int) -> list[str]:
    """Undo the last `steps` migrations, and the data in what they made; their ids, newest first.

    Raises as `up`.
    """
    async with _locked(dsn):
        applied = set(await _applied())
        done = [manager for manager in await _managers() if manager.migration_id in applied]
        todo = list(reversed(done))[:steps]
        for manager in todo:
            await _run(manager.raw_backwards)
            await Migration.delete().where(Migration.name == manager.migration_id)
        return [manager.migration_id for manager in todo]


async def status(dsn: str) -> list[MigrationState]:
    """Every migration, oldest first. Changes nothing. Raises DatabaseUnavailable."""
    async with _connected(dsn):
        applied = set(await _applied()) if await Migration.table_exists() else set()
        return [
            MigrationState(manager.migration_id, manager.description, manager.migration_id in applied)
            for manager in await _managers()
        ]


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[Any]:
    """A connection, lent to Piccolo."""
    with database_errors():
        connection = await asyncpg.connect(
            dsn,
            timeout=10,
            statement_cache_size=0,
            server_settings={"application_name": "ide-orchestrator migrate"},
        )
        try:
            with ENGINE.on(connection):
                yield connection
        finally:
            await connection.close(timeout=5)


@asynccontextmanager
async def _locked(dsn: str) -> AsyncIterator[None]:
    """A transaction that no other migration runs beside, with Piccolo's own table in place."""
    async with _connected(dsn) as connection, connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
        await connection.execute(f"SET LOCAL lock_timeout = {TABLE_WAIT_MS}")
        if not await Migration.table_exists():
            await Migration.create_table()
        yield


async def _managers() -> list[MigrationManager]:
    """Every migration's manager, oldest first."""
    names = (module.name for module in pkgutil.iter_modules(migrations.__path__, f"{migrations.__name__}."))
    managers = [await importlib.import_module(name).forwards() for name in names]
    return sorted(managers, key=lambda manager: manager.migration_id)


async def _applied() -> list[str]:
    return await Migration.get_migrations_which_ran(app_name=APP_NAME)


async def _run(steps: list[Any]) -> None:
    """Run a migration's raw steps: ours have no others, a test sees to it."""
    for step in steps:
        await cast(Callable[[], Awaitable[None]], step)()


# Piccolo's own table is a table class like ours, and gets the same engine.
Migration._meta.db = ENGINE
