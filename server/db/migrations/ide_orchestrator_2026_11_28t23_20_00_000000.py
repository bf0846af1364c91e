"""One index has each user's list of proposals, in its order (ADR 0077).

The previous release runs on this schema, too: to it, this is the index on the user.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-28T23:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "lists in their order"

UP = (
    "CREATE INDEX proposal_access_newest ON proposal_access (user_id, proposal_created_at, proposal_id)",
    "ALTER TABLE proposal_access ALTER COLUMN proposal_created_at SET NOT NULL",
    "DROP INDEX idx_proposal_access_user_id",
)
DOWN = (
    "CREATE INDEX idx_proposal_access_user_id ON proposal_access (user_id)",
    "ALTER TABLE proposal_access ALTER COLUMN proposal_created_at DROP NOT NULL",
    "DROP INDEX proposal_access_newest",
)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
