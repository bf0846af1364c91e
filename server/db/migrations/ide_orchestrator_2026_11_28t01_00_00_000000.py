"""A commit updates the row of its run in place (ADR 0066).

PostgreSQL does so only while no index depends on what changes, and the page has room. The index that
retention uses depended on `last_seq`, which each commit changes. The previous release runs on this schema,
too: its retention reads the table without an index.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-28T01:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "commits in place"

UP = (
    # Whether no event of the thread is left. Set by retention; where the previous release removed the last
    # event, this one looks again.
    "ALTER TABLE runs ADD COLUMN emptied boolean NOT NULL DEFAULT false",
    "UPDATE runs SET emptied = true WHERE floor > last_seq",
    "DROP INDEX idx_runs_kept_finished_at",
    "CREATE INDEX idx_runs_kept_finished_at ON runs (finished_at) WHERE NOT emptied",
    # Of pages that are written from now on.
    "ALTER TABLE runs SET (fillfactor = 50)",
)
DOWN = (
    "ALTER TABLE runs RESET (fillfactor)",
    "DROP INDEX idx_runs_kept_finished_at",
    "ALTER TABLE runs DROP COLUMN emptied",
    "CREATE INDEX idx_runs_kept_finished_at ON runs (finished_at) WHERE floor <= last_seq",
)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
