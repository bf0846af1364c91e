"""Every row of access says when its proposal was created (ADR 0077).

A migration of its own: it locks only rows. So while it takes its 15 s for a million of them, everything is
read, and proposals are added; only grants that are there cannot be changed.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-28T23:10:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "places in lists of earlier rows"

UP = (
    """
    UPDATE proposal_access a SET proposal_created_at = p.created_at
    FROM proposals p WHERE p.id = a.proposal_id AND a.proposal_created_at IS NULL
    """,
)
DOWN = ("UPDATE proposal_access SET proposal_created_at = NULL WHERE false",)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
