"""Quotas. Beside the release before: it knows neither table, and counts nothing."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.tables import Migration

ID = "2026-11-25T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "quotas"

UP = (
    # Callers are users and share links; what is counted here is worth nothing after a crash.
    """
    CREATE UNLOGGED TABLE quotas (
        caller_id uuid PRIMARY KEY,
        minute_began_at timestamptz NOT NULL DEFAULT now(),
        creates integer NOT NULL DEFAULT 0,
        streams jsonb NOT NULL DEFAULT '{}'
    )
    """,
    "CREATE UNLOGGED TABLE replicas (name text PRIMARY KEY, seen_at timestamptz NOT NULL)",
    """
    CREATE INDEX idx_proposals_live_created_by_user_id ON proposals (created_by_user_id)
    WHERE status IN ('processing', 'awaiting_input')
    """,
)

DOWN = (
    "DROP INDEX idx_proposals_live_created_by_user_id",
    "DROP TABLE replicas",
    "DROP TABLE quotas",
)


async def up() -> None:
    """Make them, on the engine that runs the migrations."""
    for statement in UP:
        await Migration._meta.db.run_ddl(statement)


async def down() -> None:
    """Remove them."""
    for statement in DOWN:
        await Migration._meta.db.run_ddl(statement)


async def forwards() -> MigrationManager:
    """Tell Piccolo what to run."""
    manager = MigrationManager(migration_id=ID, app_name="ide_orchestrator", description=DESCRIPTION)
    manager.add_raw(up)
    manager.add_raw_backwards(down)
    return manager
