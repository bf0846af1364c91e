"""The quarantine: which frames of the runtime are kept uninterpreted, and what became of those released.

The previous release runs on this schema, too: frames that it keeps are not noted.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-27T18:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "quarantine of frames"

UP = (
    # The frame itself is the event `seq` of the thread. structure: keys and types, without values.
    # release_requested_at: an operator wants it released, and the owner of the run has not yet done so.
    # outcome: what became of it then; outcome_seq: the event with its meaning, if that was journalled.
    """
    CREATE TABLE quarantined_frames (
      thread_id uuid NOT NULL,
      seq integer NOT NULL,
      shape_id text NOT NULL,
      reason text NOT NULL,
      event_type text NOT NULL,
      structure text NOT NULL,
      size_bytes integer NOT NULL,
      kept_at timestamptz NOT NULL DEFAULT now(),
      release_requested_at timestamptz,
      outcome text CHECK (outcome IN ('journalled', 'superseded', 'reported')),
      outcome_seq integer,
      PRIMARY KEY (thread_id, seq)
    )
    """,
    "CREATE INDEX idx_quarantined_frames_shape ON quarantined_frames (shape_id, kept_at)",
    "CREATE INDEX idx_quarantined_frames_waiting ON quarantined_frames (shape_id) WHERE outcome IS NULL",
    """
    CREATE INDEX idx_quarantined_frames_due ON quarantined_frames (thread_id)
    WHERE release_requested_at IS NOT NULL
    """,
)

DOWN = ("DROP TABLE quarantined_frames",)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
