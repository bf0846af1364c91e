"""Replies to the questions of agents.

The previous release runs on this schema, too: it does not give a reply to the runtime.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-27T12:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "replies to questions"

UP = (
    # The newest question that can no longer be answered, as the seq of its event; 0: all can.
    "ALTER TABLE runs ADD COLUMN closed_input_seq integer NOT NULL DEFAULT 0",
    # The last reply, as JSON text, until the runtime has it. Not jsonb, which refuses U+0000.
    "ALTER TABLE runs ADD COLUMN reply text",
)

DOWN = (
    "ALTER TABLE runs DROP COLUMN reply",
    "ALTER TABLE runs DROP COLUMN closed_input_seq",
)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
