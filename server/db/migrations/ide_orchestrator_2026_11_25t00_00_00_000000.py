"""The first schema."""

from server.db.sql_migration import sql_migration

ID = "2026-11-25T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "users, workflows, drafts, proposals, runs, events, idempotency keys"

UP = (
    """
    CREATE TABLE users (
        id uuid PRIMARY KEY,
        subject text NOT NULL UNIQUE,
        email text,
        display_name text,
        is_service boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT now(),
        disabled_at timestamptz
    )
    """,
    """
    CREATE TABLE workflows (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        name text NOT NULL,
        owner_user_id uuid NOT NULL REFERENCES users (id),
        agent_definition jsonb NOT NULL,
        current_draft_id uuid,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX idx_workflows_owner ON workflows (owner_user_id, created_at DESC, id DESC)",
    """
    CREATE TABLE drafts (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        workflow_id uuid NOT NULL REFERENCES workflows (id),
        version int NOT NULL DEFAULT 1 CHECK (version >= 1),
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        updated_by_user_id uuid NOT NULL REFERENCES users (id)
    )
    """,
    "CREATE INDEX idx_drafts_workflow_id ON drafts (workflow_id)",
    # The two tables refer to each other, so the constraint is checked at commit.
    """
    ALTER TABLE workflows ADD CONSTRAINT workflows_current_draft_id_fkey
        FOREIGN KEY (current_draft_id) REFERENCES drafts (id) DEFERRABLE INITIALLY DEFERRED
    """,
    """
    CREATE TABLE proposals (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        draft_id uuid NOT NULL REFERENCES drafts (id),
        thread_id varchar(255) NOT NULL UNIQUE,
        status varchar(50) NOT NULL DEFAULT 'processing'
            CHECK (status IN ('processing', 'awaiting_input', 'completed', 'failed', 'cancelled')),
        user_prompt text NOT NULL,
        context_file_path text,
        context_selection text,
        generated_files jsonb,
        created_at timestamptz NOT NULL DEFAULT now(),
        completed_at timestamptz,
        created_by_user_id uuid NOT NULL REFERENCES users (id),
        resolved_by_user_id uuid REFERENCES users (id),
        resolved_at timestamptz,
        failure_reason text,
        failure_message text,
        file_count int NOT NULL DEFAULT 0 CHECK (file_count >= 0),
        base_version int NOT NULL DEFAULT 1 CHECK (base_version >= 1)
    )
    """,
    "CREATE INDEX idx_proposals_thread_id ON proposals (thread_id)",
    "CREATE INDEX idx_proposals_draft_id ON proposals (draft_id)",
    "CREATE INDEX idx_proposals_status ON proposals (status)",
    "CREATE INDEX idx_proposals_created_by ON proposals (created_by_user_id)",
    "CREATE INDEX idx_proposals_newest ON proposals (created_at DESC, id DESC)",
    """
    CREATE TABLE draft_versions (
        draft_id uuid NOT NULL REFERENCES drafts (id),
        version int NOT NULL CHECK (version >= 1),
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by_user_id uuid NOT NULL REFERENCES users (id),
        proposal_id uuid REFERENCES proposals (id),
        PRIMARY KEY (draft_id, version)
    )
    """,
    """
    CREATE TABLE draft_files (
        draft_id uuid NOT NULL,
        version int NOT NULL,
        path text NOT NULL,
        content bytea,
        deleted boolean NOT NULL DEFAULT false,
        PRIMARY KEY (draft_id, version, path),
        FOREIGN KEY (draft_id, version) REFERENCES draft_versions (draft_id, version),
        CHECK (deleted = (content IS NULL))
    )
    """,
    """
    CREATE TABLE proposal_access (
        proposal_id uuid NOT NULL REFERENCES proposals (id),
        user_id uuid NOT NULL REFERENCES users (id),
        access_type varchar(50) NOT NULL DEFAULT 'owner'
            CHECK (access_type IN ('owner', 'editor', 'viewer')),
        granted_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (proposal_id, user_id)
    )
    """,
    "CREATE INDEX idx_proposal_access_user_id ON proposal_access (user_id)",
    """
    CREATE TABLE runs (
        thread_id uuid PRIMARY KEY,
        proposal_id uuid NOT NULL UNIQUE REFERENCES proposals (id),
        status varchar(20) NOT NULL DEFAULT 'pending'
            CHECK (status IN ('pending', 'invoking', 'running', 'completed', 'failed', 'cancelled')),
        attempt int NOT NULL DEFAULT 0,
        owner text,
        fence bigint NOT NULL DEFAULT 1,
        lease_until timestamptz,
        last_seq int NOT NULL DEFAULT 0,
        epoch int NOT NULL DEFAULT 1,
        floor int NOT NULL DEFAULT 1,
        cancel_requested_at timestamptz,
        takeovers int NOT NULL DEFAULT 0,
        takeover_seq int NOT NULL DEFAULT 0,
        trace_id uuid NOT NULL,
        invocation jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        finished_at timestamptz
    )
    """,
    """
    CREATE INDEX idx_runs_lease_until ON runs (lease_until)
        WHERE status IN ('pending', 'invoking', 'running')
    """,
    """
    CREATE TABLE events (
        thread_id uuid NOT NULL REFERENCES runs (thread_id) ON DELETE CASCADE,
        first_seq int NOT NULL CHECK (first_seq >= 1),
        last_seq int NOT NULL,
        batch bytea STORAGE EXTENDED NOT NULL,
        residues bytea STORAGE EXTENDED NOT NULL,
        terminal boolean NOT NULL DEFAULT false,
        PRIMARY KEY (thread_id, first_seq),
        CHECK (last_seq >= first_seq)
    )
    """,
    "CREATE UNIQUE INDEX idx_events_terminal ON events (thread_id) WHERE terminal",
    """
    CREATE TABLE idempotency_keys (
        user_id uuid NOT NULL,
        route text NOT NULL,
        key text NOT NULL,
        request_sha256 bytea NOT NULL,
        thread_id uuid NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        PRIMARY KEY (user_id, route, key)
    )
    """,
    "CREATE INDEX idx_idempotency_keys_expires_at ON idempotency_keys (expires_at)",
    """
    CREATE FUNCTION refuse_leaving_terminal_status() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'a terminal status never changes' USING ERRCODE = 'check_violation';
    END
    $$
    """,
    """
    CREATE TRIGGER terminal_status_stays BEFORE UPDATE OF status ON runs FOR EACH ROW
        WHEN (OLD.status IN ('completed', 'failed', 'cancelled') AND NEW.status <> OLD.status)
        EXECUTE FUNCTION refuse_leaving_terminal_status()
    """,
    """
    CREATE TRIGGER terminal_status_stays BEFORE UPDATE OF status ON proposals FOR EACH ROW
        WHEN (OLD.status IN ('completed', 'failed', 'cancelled') AND NEW.status <> OLD.status)
        EXECUTE FUNCTION refuse_leaving_terminal_status()
    """,
)

DOWN = (
    "ALTER TABLE workflows DROP CONSTRAINT workflows_current_draft_id_fkey",
    "DROP TABLE idempotency_keys",
    "DROP TABLE events",
    "DROP TABLE runs",
    "DROP TABLE proposal_access",
    "DROP TABLE draft_files",
    "DROP TABLE draft_versions",
    "DROP TABLE proposals",
    "DROP TABLE drafts",
    "DROP TABLE workflows",
    "DROP TABLE users",
    "DROP FUNCTION refuse_leaving_terminal_status",
)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
