"""The id by which the runtime knows a run's thread, when it chose another than the hub's.

The previous release runs on this schema, too: it refuses such a runtime at the invoke, so it starts no run
that has an id here. One that it takes over from a newer replica ends as lost: the runtime does not know it by
the hub's id.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-26T10:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "runtime_thread_id"

UP = (
    "ALTER TABLE runs ADD COLUMN runtime_thread_id text "
    "CONSTRAINT runs_runtime_thread_id_length CHECK (char_length(runtime_thread_id) BETWEEN 1 AND 255)",
)
DOWN = ("ALTER TABLE runs DROP COLUMN runtime_thread_id",)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
