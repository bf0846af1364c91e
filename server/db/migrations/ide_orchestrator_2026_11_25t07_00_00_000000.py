"""Tickets for WebSockets.

The previous release runs on this schema, too: it does not use the table.
"""

from server.db.sql_migration import sql_migration

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

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
