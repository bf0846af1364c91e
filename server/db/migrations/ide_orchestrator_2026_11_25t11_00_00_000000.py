"""Share links, and one view that decides who may do what.

The previous release runs on this schema, too: it uses neither, and `proposal_access` does not change.
"""

from server.db.sql_migration import sql_migration

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
    # A link is a caller of its own, with its id, while the user that created it is not disabled.
    """
    CREATE VIEW proposal_callers AS
    SELECT proposal_id, user_id AS caller_id, access_type FROM proposal_access
    UNION ALL
    SELECT l.proposal_id, l.id, 'viewer' FROM share_links l JOIN users u ON u.id = l.created_by_user_id
    WHERE l.expires_at > now() AND u.disabled_at IS NULL
    """,
)

DOWN = ("DROP VIEW proposal_callers", "DROP TABLE share_links")

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
