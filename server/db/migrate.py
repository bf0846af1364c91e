"""Migrations, run in-process: up, down, status.

The files are Piccolo's, and its command line can also run them. The loop is ours, because Piccolo's own loop
finds its engine through the environment, prints to the terminal, and records a migration outside the
transaction that ran it. Here a transaction holds a migration and its record, under an advisory lock, and the
next one begins without its locks. So replicas may start at the same time, the database may be reached through
a transaction pooler, and what takes long may be a migration that locks no table.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.tables import Migration

from server.db import migrations
from server.db.connections import connect
from server.db.engine import ENGINE
from server.db.errors import database_errors
from server.db.sql_migration import APP_NAME

#: The key of the advisory lock, an arbitrary constant.
LOCK_KEY = 0x1DE0_0C4E

#: Milliseconds to wait for the migrations of another replica, and for a table that is in use.
LOCK_WAIT_MS = 120_000
TABLE_WAIT_MS = 10_000
#: Seconds to wait for a connection, for an answer about the state of the schema, and for a connection's end.
CONNECT_S, STATUS_S, CLOSE_S = 10.0, 5.0, 1.0


@dataclass(frozen=True, slots=True)
class MigrationState:
    """One migration: its id, what it does, and whether it is applied."""

    id: str
    description: str
    applied: bool


async def up(dsn: str) -> list[str]:
    """Apply all pending migrations; return the ids of those that this call applied, in order.

    Raises DatabaseUnavailable, also when a lock is not free in time. Those before the one that failed stay
    applied.
    """
    applied = []
    async with _connected(dsn) as connection:
        before = await _applied_so_far()
        for manager in await _managers():
            if manager.migration_id in before:
                continue
            async with _locked(connection):
                # Another replica may have applied it meanwhile.
                if manager.migration_id not in await _applied():
                    await _run(manager.raw)
                    await Migration.insert(Migration(name=manager.migration_id, app_name=APP_NAME))
                    applied.append(manager.migration_id)
    return applied


async def down(dsn: str, steps: int) -> list[str]:
    """Undo the last `steps` migrations, or none, with their data; return their ids, newest first.

    Raises as `up`.
    """
    async with _connected(dsn) as connection, _locked(connection):
        applied = set(await _applied())
        done = [manager for manager in await _managers() if manager.migration_id in applied]
        undone = list(reversed(done))[:steps]
        for manager in undone:
            await _run(manager.raw_backwards)
            await Migration.delete().where(Migration.name == manager.migration_id)
        return [manager.migration_id for manager in undone]


async def status(dsn: str) -> list[MigrationState]:
    """All migrations, oldest first. Changes nothing. Raises DatabaseUnavailable."""
    async with _connected(dsn, command_timeout_s=STATUS_S):
        applied = await _applied_so_far()
        return [
            MigrationState(manager.migration_id, manager.description, manager.migration_id in applied)
            for manager in await _managers()
        ]


@asynccontextmanager
async def _connected(dsn: str, *, command_timeout_s: float | None = None) -> AsyncIterator[Any]:
    """A connection that Piccolo's queries use. Without a timeout, a statement takes as long as it takes."""
    with database_errors():
        connection = await connect(
            dsn,
            timeout_s=CONNECT_S,
            command_timeout_s=command_timeout_s,
            application_name="ide-orchestrator migrate",
        )
        try:
            with ENGINE.using(connection):
                yield connection
        finally:
            # Where it gets no answer, it is dropped: this error would hide the one that matters.
            with contextlib.suppress(TimeoutError):
                await connection.close(timeout=CLOSE_S)


@asynccontextmanager
async def _locked(connection: Any) -> AsyncIterator[None]:
    """A transaction that excludes other migrations, with Piccolo's own table in place."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
        await connection.execute(f"SET LOCAL lock_timeout = {TABLE_WAIT_MS}")
        if not await Migration.table_exists():
            await Migration.create_table()
        yield


async def _managers() -> list[MigrationManager]:
    """The managers of all migrations, oldest first."""
    names = (module.name for module in pkgutil.iter_modules(migrations.__path__, f"{migrations.__name__}."))
    managers = [await importlib.import_module(name).forwards() for name in names]
    return sorted(managers, key=lambda manager: manager.migration_id)


async def _applied() -> list[str]:
    return await Migration.get_migrations_which_ran(app_name=APP_NAME)


async def _applied_so_far() -> set[str]:
    """Those that are applied; none where no migration ever ran."""
    return set(await _applied()) if await Migration.table_exists() else set()


async def _run(steps: list[Any]) -> None:
    """Run the raw steps of a migration. A test checks that ours have no other steps."""
    for step in steps:
        await cast(Callable[[], Awaitable[None]], step)()


# Piccolo's own table is a table class like ours, and uses the same engine.
Migration._meta.db = ENGINE
