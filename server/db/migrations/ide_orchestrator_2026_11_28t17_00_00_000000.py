"""Versions of drafts that are read without what came before them (ADR 0072).

A version has a row for each file that it changed, and every now and then one for each of its files: from
then on, nobody reads older rows for a newer version. `written_version` of such a row is the version that
wrote the file.

The previous release runs on this schema, too: to it, such a version has written all of its files again. What
it writes itself is read from the beginning, until this release writes the next version.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-28T17:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "whole versions of drafts"

UP = (
    # The newest version up to this one that has a row for each of its files; null if there is none.
    "ALTER TABLE draft_versions ADD COLUMN whole_version int",
    "ALTER TABLE draft_version_files ADD COLUMN written_version int",
    "CREATE INDEX draft_version_files_version ON draft_version_files (draft_id, version)",
    # For the reader of a content: it asks whether any version has it.
    "CREATE INDEX draft_version_files_sha256 ON draft_version_files (draft_id, sha256)",
)

DOWN = (
    "DROP INDEX draft_version_files_sha256",
    "DROP INDEX draft_version_files_version",
    "DELETE FROM draft_version_files WHERE written_version IS NOT NULL",
    "ALTER TABLE draft_version_files DROP COLUMN written_version",
    "ALTER TABLE draft_versions DROP COLUMN whole_version",
)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
