"""The stores of webhooks: one for their owners, one for the senders.

All methods that reach the database raise DatabaseUnavailable while it cannot be reached. Times are the
stores' own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from server.domain.model import IdempotencyKey, Page, Principal
from server.domain.webhooks.events import EventType
from server.domain.webhooks.webhook import CreateWebhook, Delivery, UpdateWebhook, Webhook


@dataclass(frozen=True, slots=True)
class WrittenWebhook:
    """A webhook with its secret. `replayed`: an earlier request with the same key made it."""

    webhook: Webhook
    replayed: bool = False


class WebhookStore(Protocol):
    """The webhooks of each owner. Methods raise NotFound for one that does not exist or is another's."""

    async def create(
        self,
        principal: Principal,
        command: CreateWebhook,
        *,
        webhook_id: UUID,
        secret: bytes,
        now: datetime,
        key: IdempotencyKey | None = None,
    ) -> WrittenWebhook:
        """Store a webhook, or find the one that the key belongs to.

        Raises NotFound for a workflow that is not the principal's, Conflict when there are MAX_WEBHOOKS,
        KeyReused.
        """
        ...

    async def get(self, principal: Principal, webhook_id: UUID) -> Webhook:
        """The webhook, without its secret."""
        ...

    async def list(self, principal: Principal, *, limit: int, token: str | None) -> Page:
        """The principal's webhooks without their secrets, newest first. Raises InvalidArgument for a token
        that this list did not issue."""
        ...

    async def update(self, principal: Principal, webhook_id: UUID, command: UpdateWebhook) -> Webhook:
        """Change it. One that is enabled again counts as sound."""
        ...

    async def delete(self, principal: Principal, webhook_id: UUID) -> None:
        """Delete it, with its deliveries."""
        ...

    async def rotate(
        self,
        principal: Principal,
        webhook_id: UUID,
        *,
        secret: bytes,
        overlap: timedelta,
        key: IdempotencyKey | None = None,
    ) -> WrittenWebhook:
        """Replace its secret; the previous one also signs during the overlap. Raises KeyReused."""
        ...

    async def deliveries(
        self, principal: Principal, webhook_id: UUID, *, limit: int, token: str | None
    ) -> Page:
        """Its deliveries, newest first. Raises as `list`."""
        ...

    async def redeliver(self, principal: Principal, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Make a delivery due now, for as long as a new one. Raises NotFound without such a delivery,
        Conflict for a webhook that is not enabled."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt that its holder makes. attempt: its number, which tells it from later ones. age_s: seconds
    for which the delivery has been tried. failures: of the webhook's attempts in a row. permitted: whether
    the webhook's owner may see the proposal. secrets: that sign, the newest first."""

    webhook_id: UUID
    event_id: UUID
    attempt: int
    event_type: EventType
    data: Mapping[str, str | int]
    created_at: datetime
    age_s: float
    failures: int
    permitted: bool
    target_url: str
    secrets: tuple[bytes, ...]
    workflow_id: UUID
    draft_id: UUID
    proposal_id: UUID
    thread_id: UUID


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """How an attempt failed. pause_s: until the next one, None for none. rest_s: for which the webhook is not
    called. gone: the receiver does not want to be called again."""

    failure: str
    http_status: int
    pause_s: float | None
    rest_s: float
    gone: bool = False


class DeliveryStore(Protocol):
    """The outbox, as the senders see it. Several replicas share the work."""

    async def claim(
        self,
        *,
        failing: bool,
        limit: int,
        busy: Mapping[UUID, int],
        max_per_webhook: int,
        max_per_owner: int,
        lease_s: float,
    ) -> Sequence[Claim]:
        """Deliveries that are due: nobody else gets them for `lease_s`.

        failing: of webhooks whose last attempt failed, one for each; otherwise of the others, up to
        `max_per_webhook` for each, less those that are `busy`. Owners take turns, and one has at most
        `max_per_owner`, with those that are `busy`.
        """
        ...

    async def mark_delivered(self, claim: Claim, http_status: int) -> None:
        """The receiver accepted it: its webhook is sound."""
        ...

    async def mark_failed(self, claim: Claim, failed: AttemptFailed) -> bool:
        """The attempt failed. Returns whether this disables its webhook. Does nothing when a later attempt
        was made, or the delivery is over."""
        ...

    async def give_up(self, claim: Claim, failure: str) -> None:
        """End the delivery without an attempt."""
        ...

    async def release(self, claims: Sequence[Claim]) -> None:
        """Make deliveries due at once that were claimed: their attempts may have been made or not."""
        ...

    async def sweep(self) -> int:
        """Give up deliveries whose time is over, and remove those that ended long ago. Returns how many were
        given up."""
        ...
