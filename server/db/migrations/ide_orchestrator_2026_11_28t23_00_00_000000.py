"""A row of access says when its proposal was created (ADR 0077).

The database fills it in when the row is added: the previous release runs on this schema, too, and its rows
are listed like any others. The next migration fills in those that are there.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-28T23:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "places in lists"

UP = (
    # `proposals.created_at`, which never changes.
    "ALTER TABLE proposal_access ADD COLUMN proposal_created_at timestamptz",
    """
    CREATE FUNCTION place_in_list() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        SELECT created_at INTO NEW.proposal_created_at FROM proposals WHERE id = NEW.proposal_id;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER place_in_list BEFORE INSERT ON proposal_access FOR EACH ROW
        EXECUTE FUNCTION place_in_list()
    """,
)

DOWN = (
    "DROP TRIGGER place_in_list ON proposal_access",
    "DROP FUNCTION place_in_list",
    "ALTER TABLE proposal_access DROP COLUMN proposal_created_at",
)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
