"""The replicas' shared key for wake-ups over a Redis-protocol server, which the database makes itself.

The previous release runs on this schema, too: it writes entries without a proof, which this release takes as
hints to look at the journal.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-26T13:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "wakeup_key"

UP = (
    # One row. A random uuid has 122 random bits.
    """
    CREATE TABLE wakeup_key (
        is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
        key bytea NOT NULL CHECK (length(key) = 32)
    )
    """,
    "INSERT INTO wakeup_key (key) VALUES (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))",
)
DOWN = ("DROP TABLE wakeup_key",)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
