"""The index that retention uses.

The previous release runs on this schema, too: it removes nothing.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-25T14:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "retention"

UP = ("CREATE INDEX idx_runs_kept_finished_at ON runs (finished_at) WHERE floor <= last_seq",)
DOWN = ("DROP INDEX idx_runs_kept_finished_at",)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
