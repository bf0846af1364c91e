"""Webhooks and their deliveries, as their owners see them, and the commands that change them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from server.domain.webhooks.events import EventType

#: Maximum number of webhooks of one owner: each event of a proposal is stored once for each that reports it.
MAX_WEBHOOKS = 50
#: How long the previous secret also signs after a rotation: by default, and at most.
OVERLAP, MAX_OVERLAP = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events are reported to an owner. workflow_id: the workflow that it is about; None for all
    proposals that the owner may see. disabled_reason: `owner`, `failing` or `gone`; None while it is enabled.
    secret: present once, when it is made."""

    id: UUID
    owner_user_id: UUID
    workflow_id: UUID | None
    target_url: str
    event_types: tuple[EventType, ...]
    disabled_reason: str | None
    failing_since: datetime | None
    previous_secret_expires_at: datetime | None
    created_at: datetime
    secret: bytes | None = None

    @property
    def enabled(self) -> bool:
        """Whether it is called."""
        return self.disabled_reason is None


class DeliveryStatus(Enum):
    """How far a delivery is; the value is the word over HTTP."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that a webhook reports. id: the event's. http_status: of the last attempt's answer, 0 without
    one. failure: why the last attempt failed (`ATTEMPT_FAILURES`), or why it was given up
    without one (`not_permitted`, `expired`); empty otherwise."""

    id: UUID
    event_type: EventType
    proposal_id: UUID
    attempts: int
    http_status: int
    failure: str
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None

    @property
    def status(self) -> DeliveryStatus:
        """How far it is."""
        if self.next_attempt_at is not None:
            return DeliveryStatus.WAITING
        return DeliveryStatus.GIVEN_UP if self.delivered_at is None else DeliveryStatus.DELIVERED


@dataclass(frozen=True, slots=True)
class CreateWebhook:
    """The command to create a webhook; its fields are already validated."""

    target_url: str
    event_types: tuple[EventType, ...]
    workflow_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class UpdateWebhook:
    """The command to change a webhook; what is None, or empty, stays."""

    target_url: str | None = None
    event_types: tuple[EventType, ...] = ()
    enabled: bool | None = None
