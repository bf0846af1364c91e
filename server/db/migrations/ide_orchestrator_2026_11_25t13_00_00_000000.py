"""Rejected files. Beside the release before: it finishes proposals without them."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.tables import Migration

ID = "2026-11-25T13:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "rejected files"

UP = ("ALTER TABLE proposals ADD COLUMN rejected_files jsonb",)
DOWN = ("ALTER TABLE proposals DROP COLUMN rejected_files",)


async def up() -> None:
    """Add the column, on the engine that runs the migrations."""
    for statement in UP:
        await Migration._meta.db.run_ddl(statement)


async def down() -> None:
    """Remove it."""
    for statement in DOWN:
        await Migration._meta.db.run_ddl(statement)


async def forwards() -> MigrationManager:
    """Tell Piccolo what to run."""
    manager = MigrationManager(migration_id=ID, app_name="ide_orchestrator", description=DESCRIPTION)
    manager.add_raw(up)
    manager.add_raw_backwards(down)
    return manager
