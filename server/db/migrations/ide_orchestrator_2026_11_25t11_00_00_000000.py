"""Share links, and one view that says who may do what. Beside the release before: it knows neither, and
reads and writes `proposal_access` as it did."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.tables import Migration

ID = "2026-11-25T11:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "share links"

UP = (
    """
    CREATE TABLE share_links (
        id uuid PRIMARY KEY,
        proposal_id uuid NOT NULL REFERENCES proposals (id),
        sha256 bytea NOT NULL UNIQUE,
        after_seq integer NOT NULL DEFAULT 0 CHECK (after_seq >= 0),
        created_by_user_id uuid NOT NULL REFERENCES users (id),
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX idx_share_links_proposal_id ON share_links (proposal_id)",
    # A link is a caller of its own, by its id, while whoever made it is not disabled.
    """
    CREATE VIEW proposal_callers AS
    SELECT proposal_id, user_id AS caller_id, access_type FROM proposal_access
    UNION ALL
    SELECT l.proposal_id, l.id, 'viewer' FROM share_links l JOIN users u ON u.id = l.created_by_user_id
    WHERE l.expires_at > now() AND u.disabled_at IS NULL
    """,
)

DOWN = ("DROP VIEW proposal_callers", "DROP TABLE share_links")


async def up() -> None:
    """Make them, on the engine that runs the migrations."""
    for statement in UP:
        await Migration._meta.db.run_ddl(statement)


async def down() -> None:
    """Remove them; nobody's own access changes."""
    for statement in DOWN:
        await Migration._meta.db.run_ddl(statement)


async def forwards() -> MigrationManager:
    """Tell Piccolo what to run."""
    manager = MigrationManager(migration_id=ID, app_name="ide_orchestrator", description=DESCRIPTION)
    manager.add_raw(up)
    manager.add_raw_backwards(down)
    return manager
