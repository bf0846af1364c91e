"""Which files each segment of a journal changes.

The previous release runs on this schema, too: a segment that it stores has no entries, and they are made when
they are first asked for.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-27T03:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "index of changed files"

UP = (
    # Empty: the segment changes no file. NULL: not known.
    "ALTER TABLE events ADD COLUMN file_changes bytea",
    # Only the segments that change files, or may: those between them cost nothing.
    """
    CREATE INDEX idx_events_file_changes ON events (thread_id, first_seq)
    WHERE file_changes IS DISTINCT FROM ''::bytea
    """,
)

DOWN = ("ALTER TABLE events DROP COLUMN file_changes",)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
