"""Refinements that wait until others of their draft are over.

The previous release runs on this schema, too, as long as no refinement waits: it does not know the status
`queued`.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-27T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "queued refinements"

_RUN_STATUSES = "'pending', 'invoking', 'running', 'completed', 'failed', 'cancelled'"
_PROPOSAL_STATUSES = "'processing', 'awaiting_input', 'completed', 'failed', 'cancelled'"

UP = (
    "ALTER TABLE runs DROP CONSTRAINT runs_status_check",
    f"ALTER TABLE runs ADD CONSTRAINT runs_status_check CHECK (status IN ('queued', {_RUN_STATUSES}))",
    "ALTER TABLE proposals DROP CONSTRAINT proposals_status_check",
    f"""
    ALTER TABLE proposals ADD CONSTRAINT proposals_status_check
    CHECK (status IN ('queued', {_PROPOSAL_STATUSES}))
    """,
    # The place in the draft's queue; kept when the run has begun.
    "ALTER TABLE proposals ADD COLUMN queue_number bigint",
    "CREATE SEQUENCE queue_numbers",
    "CREATE INDEX runs_queued ON runs (proposal_id) WHERE status = 'queued'",
    """
    CREATE INDEX proposals_unfinished ON proposals (draft_id)
    WHERE status IN ('queued', 'processing', 'awaiting_input')
    """,
    "DROP INDEX idx_proposals_live_created_by_user_id",
    """
    CREATE INDEX idx_proposals_live_created_by_user_id ON proposals (created_by_user_id)
    WHERE status IN ('queued', 'processing', 'awaiting_input')
    """,
)

DOWN = (
    "DROP INDEX idx_proposals_live_created_by_user_id",
    "DROP INDEX proposals_unfinished",
    "DROP INDEX runs_queued",
    # Runs that wait begin at once.
    "UPDATE runs SET status = 'pending', created_at = now() WHERE status = 'queued'",
    "UPDATE proposals SET status = 'processing' WHERE status = 'queued'",
    "DROP SEQUENCE queue_numbers",
    "ALTER TABLE proposals DROP COLUMN queue_number",
    "ALTER TABLE proposals DROP CONSTRAINT proposals_status_check",
    f"""
    ALTER TABLE proposals ADD CONSTRAINT proposals_status_check CHECK (status IN ({_PROPOSAL_STATUSES}))
    """,
    "ALTER TABLE runs DROP CONSTRAINT runs_status_check",
    f"ALTER TABLE runs ADD CONSTRAINT runs_status_check CHECK (status IN ({_RUN_STATUSES}))",
    """
    CREATE INDEX idx_proposals_live_created_by_user_id ON proposals (created_by_user_id)
    WHERE status IN ('processing', 'awaiting_input')
    """,
)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
