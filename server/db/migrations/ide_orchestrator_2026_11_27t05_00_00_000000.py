"""Users by e-mail address.

The previous release runs on this schema, too: it does not search for users.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-27T05:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "users by e-mail address"

UP = ("CREATE INDEX idx_users_email ON users (lower(email))",)

DOWN = ("DROP INDEX idx_users_email",)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
