"""Tickets for WebSockets. Beside the release before: it does not know the table."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.tables import Migration

ID = "2026-11-25T07:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "tickets"

UP = (
    """
    CREATE TABLE tickets (
        sha256 bytea PRIMARY KEY,
        user_id uuid NOT NULL REFERENCES users (id),
        thread_id uuid NOT NULL,
        token_expires_at timestamptz,
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX idx_tickets_expires_at ON tickets (expires_at)",
)

DOWN = ("DROP TABLE tickets",)


async def up() -> None:
    """Make the table, on the engine that runs the migrations."""
    for statement in UP:
        await Migration._meta.db.run_ddl(statement)


async def down() -> None:
    """Remove it, with the tickets that wait."""
    for statement in DOWN:
        await Migration._meta.db.run_ddl(statement)


async def forwards() -> MigrationManager:
    """Tell Piccolo what to run."""
    manager = MigrationManager(migration_id=ID, app_name="ide_orchestrator", description=DESCRIPTION)
    manager.add_raw(up)
    manager.add_raw_backwards(down)
    return manager
