"""Migrations as Piccolo's command line and `migrate` run them, from SQL.

Piccolo's own operations know neither keys of several columns, CHECKs, partial indexes, views nor triggers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.tables import Migration

#: The name of the hub's app in Piccolo's table of migrations.
APP_NAME = "ide_orchestrator"


def sql_migration(
    migration_id: str, up: Sequence[str], down: Sequence[str], description: str
) -> Callable[[], Awaitable[MigrationManager]]:
    """The `forwards` function of a migration's module.

    up, down: statements, in order; they run on the engine of Piccolo's table of migrations. description:
    a few words for lists of migrations.
    """

    async def _up() -> None:
        await _run(up)

    async def _down() -> None:
        await _run(down)

    async def _forwards() -> MigrationManager:
        manager = MigrationManager(migration_id=migration_id, app_name=APP_NAME, description=description)
        manager.add_raw(_up)
        manager.add_raw_backwards(_down)
        return manager

    return _forwards


async def _run(statements: Sequence[str]) -> None:
    for statement in statements:
        await Migration._meta.db.run_ddl(statement)
