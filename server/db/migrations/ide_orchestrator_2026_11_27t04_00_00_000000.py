"""Webhooks, and the outbox of the events that they report.

The previous release runs on this schema, too: what it does is not reported.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-27T04:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "webhooks"

UP = (
    # The secrets sign, so they are kept as they are. retry_at: a webhook whose last call failed rests until
    # then.
    """
    CREATE TABLE webhooks (
        id uuid PRIMARY KEY,
        owner_user_id uuid NOT NULL REFERENCES users (id),
        workflow_id uuid REFERENCES workflows (id),
        target_url text NOT NULL,
        event_types text[] NOT NULL,
        secret bytea NOT NULL,
        previous_secret bytea,
        previous_secret_expires_at timestamptz,
        disabled_reason text CHECK (disabled_reason IN ('owner', 'failing', 'gone')),
        failures int NOT NULL DEFAULT 0 CHECK (failures >= 0),
        failing_since timestamptz,
        retry_at timestamptz,
        created_at timestamptz NOT NULL,
        CHECK ((previous_secret IS NULL) = (previous_secret_expires_at IS NULL))
    )
    """,
    "CREATE INDEX idx_webhooks_owner ON webhooks (owner_user_id, created_at DESC, id DESC)",
    # The outbox: a row for each event and webhook. No key refers to webhooks: one that is deleted at that
    # moment must not fail the transaction that stores the event. next_attempt_at is null when nothing is left
    # to do, and in the future while an attempt is made; retried_from begins the time for which it is tried.
    """
    CREATE TABLE webhook_deliveries (
        webhook_id uuid NOT NULL,
        event_id uuid NOT NULL,
        event_type text NOT NULL,
        proposal_id uuid NOT NULL REFERENCES proposals (id),
        data jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        attempts int NOT NULL DEFAULT 0,
        http_status int NOT NULL DEFAULT 0,
        failure text NOT NULL DEFAULT '',
        retried_from timestamptz NOT NULL DEFAULT now(),
        next_attempt_at timestamptz DEFAULT now(),
        delivered_at timestamptz,
        PRIMARY KEY (webhook_id, event_id)
    )
    """,
    """
    CREATE INDEX idx_webhook_deliveries_waiting ON webhook_deliveries (webhook_id, next_attempt_at)
        WHERE next_attempt_at IS NOT NULL
    """,
    """
    CREATE INDEX idx_webhook_deliveries_newest
        ON webhook_deliveries (webhook_id, created_at DESC, event_id DESC)
    """,
    "CREATE INDEX idx_webhook_deliveries_created_at ON webhook_deliveries (created_at)",
    # A key names a start, a change of a draft, a decision, or a webhook that was made or got a new secret.
    "ALTER TABLE idempotency_keys ADD COLUMN webhook_id uuid",
    "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_names_one",
    """
    ALTER TABLE idempotency_keys ADD CONSTRAINT idempotency_keys_names_one CHECK (
        num_nonnulls(thread_id, draft_id, proposal_id, webhook_id) = 1
        AND (draft_id IS NULL) = (draft_version IS NULL))
    """,
)

DOWN = (
    "DELETE FROM idempotency_keys WHERE webhook_id IS NOT NULL",
    "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_names_one",
    """
    ALTER TABLE idempotency_keys ADD CONSTRAINT idempotency_keys_names_one CHECK (
        num_nonnulls(thread_id, draft_id, proposal_id) = 1 AND (draft_id IS NULL) = (draft_version IS NULL))
    """,
    "ALTER TABLE idempotency_keys DROP COLUMN webhook_id",
    "DROP TABLE webhook_deliveries",
    "DROP TABLE webhooks",
)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
