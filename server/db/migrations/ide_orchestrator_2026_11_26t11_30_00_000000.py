"""The rejected files of a proposal, with reasons, hashes and sizes that the previous release cannot read.

The previous release runs on this schema, too: it reads and writes `rejected_files`, which is null for the
proposals that this release finishes.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-26T11:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "rejected files"

UP = ("ALTER TABLE proposals ADD COLUMN rejections jsonb",)
DOWN = ("ALTER TABLE proposals DROP COLUMN rejections",)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
