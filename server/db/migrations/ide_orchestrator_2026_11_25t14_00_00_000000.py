"""What retention looks for. Beside the release before: it never looks."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.tables import Migration

ID = "2026-11-25T14:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "retention"

UP = ("CREATE INDEX idx_runs_kept_finished_at ON runs (finished_at) WHERE floor <= last_seq",)
DOWN = ("DROP INDEX idx_runs_kept_finished_at",)


async def up() -> None:
    """Make the index, on the engine that runs the migrations."""
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
