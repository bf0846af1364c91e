"""Quotas.

The previous release runs on this schema, too: it uses neither table, and counts nothing.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-25T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "quotas"

UP = (
    # Callers are users and share links. The counts are worthless after a crash: the tables are unlogged.
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

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
