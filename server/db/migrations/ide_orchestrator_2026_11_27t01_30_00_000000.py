"""Who may read and write drafts, what a version restores, and what a run was given.

The previous release runs on this schema, too: it writes no version but the first, knows neither locked nor
archived workflows, and its runs are not given the draft.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-27T01:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "drafts"

UP = (
    "ALTER TABLE draft_versions ADD COLUMN restored_version int CHECK (restored_version >= 1)",
    # A workflow that is locked or archived can be read, and not changed.
    "ALTER TABLE workflows ADD COLUMN locked_at timestamptz",
    "ALTER TABLE workflows ADD COLUMN archived_at timestamptz",
    # True when the run worked on the files of its base version: one of those that is gone was deleted.
    "ALTER TABLE proposals ADD COLUMN includes_base boolean NOT NULL DEFAULT false",
    # A key names a start, with its thread, or a change of a draft, with the version that it made.
    "ALTER TABLE idempotency_keys ALTER COLUMN thread_id DROP NOT NULL",
    "ALTER TABLE idempotency_keys ADD COLUMN draft_id uuid",
    "ALTER TABLE idempotency_keys ADD COLUMN draft_version int",
    """
    ALTER TABLE idempotency_keys ADD CONSTRAINT idempotency_keys_names_one CHECK (
        (thread_id IS NULL) = (draft_id IS NOT NULL) AND (draft_id IS NULL) = (draft_version IS NULL))
    """,
    # The owner of its workflow, and the users with access to one of its proposals: a row for each access.
    """
    CREATE VIEW draft_callers AS
    SELECT d.id AS draft_id, w.owner_user_id AS caller_id, 'owner'::text AS access_type
    FROM drafts d JOIN workflows w ON w.id = d.workflow_id JOIN users u ON u.id = w.owner_user_id
    WHERE u.disabled_at IS NULL
    UNION ALL
    SELECT p.draft_id, a.user_id, a.access_type
    FROM proposals p JOIN proposal_access a ON a.proposal_id = p.id JOIN users u ON u.id = a.user_id
    WHERE u.disabled_at IS NULL
    """,
)

DOWN = (
    "DROP VIEW draft_callers",
    "DELETE FROM idempotency_keys WHERE thread_id IS NULL",
    "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_names_one",
    "ALTER TABLE idempotency_keys DROP COLUMN draft_version",
    "ALTER TABLE idempotency_keys DROP COLUMN draft_id",
    "ALTER TABLE idempotency_keys ALTER COLUMN thread_id SET NOT NULL",
    "ALTER TABLE proposals DROP COLUMN includes_base",
    "ALTER TABLE workflows DROP COLUMN archived_at",
    "ALTER TABLE workflows DROP COLUMN locked_at",
    "ALTER TABLE draft_versions DROP COLUMN restored_version",
)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
