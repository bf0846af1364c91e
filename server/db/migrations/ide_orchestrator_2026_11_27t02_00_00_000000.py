"""What is decided about proposals, what came of it, and which proposal revises which.

The previous release runs on this schema, too: it decides nothing, and no proposal that it starts revises
another.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-27T02:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "review"

UP = (
    "ALTER TABLE proposals ADD COLUMN resolution text CHECK (resolution IN ('accepted', 'rejected'))",
    "ALTER TABLE proposals ADD COLUMN resolution_comment text",
    "ALTER TABLE proposals ADD COLUMN result_version int CHECK (result_version >= 1)",
    # Each change of what is decided counts; with its time it makes the etag.
    "ALTER TABLE proposals ADD COLUMN review_number int NOT NULL DEFAULT 0",
    "ALTER TABLE proposals ADD COLUMN reviewed_at timestamptz",
    "ALTER TABLE proposals ADD COLUMN revises_proposal_id uuid REFERENCES proposals (id)",
    """
    ALTER TABLE proposals ADD CONSTRAINT proposals_resolved CHECK (
        resolution IS NULL OR (resolved_at IS NOT NULL AND resolved_by_user_id IS NOT NULL))
    """,
    """
    CREATE INDEX proposals_revises ON proposals (revises_proposal_id, created_at)
    WHERE revises_proposal_id IS NOT NULL
    """,
    # sha256: the content that a decision about a file as a whole is about; null for a deleted one.
    """
    CREATE TABLE proposal_decisions (
        proposal_id uuid NOT NULL REFERENCES proposals (id) ON DELETE CASCADE,
        path text NOT NULL,
        decision text CHECK (decision IN ('accepted', 'rejected')),
        new_path text CHECK (new_path IS NULL OR decision = 'accepted'),
        sha256 bytea,
        hunks jsonb NOT NULL DEFAULT '{}',
        PRIMARY KEY (proposal_id, path)
    )
    """,
    # A key names a start, a change of a draft, or what was decided about a proposal.
    "ALTER TABLE idempotency_keys ADD COLUMN proposal_id uuid",
    "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_names_one",
    """
    ALTER TABLE idempotency_keys ADD CONSTRAINT idempotency_keys_names_one CHECK (
        num_nonnulls(thread_id, draft_id, proposal_id) = 1 AND (draft_id IS NULL) = (draft_version IS NULL))
    """,
)

DOWN = (
    "DELETE FROM idempotency_keys WHERE proposal_id IS NOT NULL",
    "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_names_one",
    "ALTER TABLE idempotency_keys DROP COLUMN proposal_id",
    """
    ALTER TABLE idempotency_keys ADD CONSTRAINT idempotency_keys_names_one CHECK (
        (thread_id IS NULL) = (draft_id IS NOT NULL) AND (draft_id IS NULL) = (draft_version IS NULL))
    """,
    "DROP TABLE proposal_decisions",
    "DROP INDEX proposals_revises",
    "ALTER TABLE proposals DROP CONSTRAINT proposals_resolved",
    "ALTER TABLE proposals DROP COLUMN revises_proposal_id",
    "ALTER TABLE proposals DROP COLUMN reviewed_at",
    "ALTER TABLE proposals DROP COLUMN review_number",
    "ALTER TABLE proposals DROP COLUMN result_version",
    "ALTER TABLE proposals DROP COLUMN resolution_comment",
    "ALTER TABLE proposals DROP COLUMN resolution",
)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
