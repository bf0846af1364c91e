"""The contents of a proposal's files, by their hash.

EXTERNAL: a compressed value would have to be expanded from its start for each piece that is read.

The previous release runs on this schema, too: it does not use the table. The contents of a proposal that it
finishes are added when one is read.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-26T11:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "contents of files"

UP = (
    """
    CREATE TABLE proposal_contents (
        proposal_id uuid NOT NULL REFERENCES proposals (id) ON DELETE CASCADE,
        sha256 bytea NOT NULL,
        content bytea NOT NULL,
        PRIMARY KEY (proposal_id, sha256)
    )
    """,
    "ALTER TABLE proposal_contents ALTER COLUMN content SET STORAGE EXTERNAL",
)

DOWN = ("DROP TABLE proposal_contents",)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
