"""Rejected files.

The previous release runs on this schema, too: it finishes proposals without them.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-25T13:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "rejected files"

UP = ("ALTER TABLE proposals ADD COLUMN rejected_files jsonb",)
DOWN = ("ALTER TABLE proposals DROP COLUMN rejected_files",)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
