"""The hub's stores in PostgreSQL, on one pool."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from server.db.access import PostgresAccessStore
from server.db.contents import PostgresContentStore
from server.db.drafts import PostgresDraftStore
from server.db.file_index import PostgresFileIndexStore
from server.db.proposals import PostgresProposalStore
from server.db.quarantine import PostgresQuarantineStore
from server.db.quotas import PostgresQuotaStore
from server.db.replies import PostgresReplyStore
from server.db.retention import PostgresRetentionStore
from server.db.reviews import PostgresReviewStore
from server.db.runs import PostgresRunStore
from server.db.tickets import PostgresTicketStore
from server.db.users import PostgresUserStore
from server.db.webhook_deliveries import PostgresDeliveryStore
from server.db.webhooks import PostgresWebhookStore
from server.db.workflows import PostgresWorkflowStore


@dataclass(frozen=True, slots=True)
class Stores:
    """One of each."""

    runs: PostgresRunStore
    replies: PostgresReplyStore
    proposals: PostgresProposalStore
    contents: PostgresContentStore
    workflows: PostgresWorkflowStore
    drafts: PostgresDraftStore
    reviews: PostgresReviewStore
    file_index: PostgresFileIndexStore
    access: PostgresAccessStore
    users: PostgresUserStore
    tickets: PostgresTicketStore
    quotas: PostgresQuotaStore
    retention: PostgresRetentionStore
    quarantine: PostgresQuarantineStore
    webhooks: PostgresWebhookStore
    deliveries: PostgresDeliveryStore

    @classmethod
    def on(cls, pool: asyncpg.Pool, *, replica: str, lease_ttl_s: float) -> Stores:
        """The stores on a pool. `replica` owns the leases that they acquire."""
        drafts = PostgresDraftStore(pool)
        return cls(
            PostgresRunStore(pool, owner=replica, lease_ttl_s=lease_ttl_s),
            PostgresReplyStore(pool),
            PostgresProposalStore(pool, owner=replica, lease_ttl_s=lease_ttl_s),
            PostgresContentStore(pool),
            PostgresWorkflowStore(pool),
            drafts,
            PostgresReviewStore(pool, drafts),
            PostgresFileIndexStore(pool),
            PostgresAccessStore(pool),
            PostgresUserStore(pool),
            PostgresTicketStore(pool),
            PostgresQuotaStore(pool, replica=replica),
            PostgresRetentionStore(pool),
            PostgresQuarantineStore(pool),
            PostgresWebhookStore(pool),
            PostgresDeliveryStore(pool),
        )
