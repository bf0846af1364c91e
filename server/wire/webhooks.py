"""Webhooks on the wire: requests, the contract's messages, the JSON of the HTTP interface, and what receivers
get."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Self
from uuid import UUID

import msgspec
from pydantic import Field, PlainValidator

from server.domain.errors import InvalidArgument
from server.domain.model import Page
from server.domain.webhooks import webhook as domain
from server.domain.webhooks.events import EventType
from server.domain.webhooks.signing import shown_secret
from server.domain.webhooks.store import Claim, WrittenWebhook
from server.domain.webhooks.targets import MAX_URL
from server.domain.webhooks.webhook import MAX_OVERLAP, OVERLAP, CreateWebhook, DeliveryStatus, UpdateWebhook
from server.wire import messages as m
from server.wire.addresses import workflow_url
from server.wire.pages import CURSOR_TEXT, DELIVERIES_CURSOR, WEBHOOKS_CURSOR, PageQuery
from server.wire.text import dumps, model_of, rfc3339, set_time
from server.wire.validation import UUID_TEXT, WHOLE_NUMBER, RequestModel, field_error, renamed_fields

#: The media type of a call's body (CloudEvents 1.0, structured mode).
EVENT_MEDIA_TYPE = "application/cloudevents+json"
#: Begins the `type` of a CloudEvent, which is a reversed domain name.
EVENT_PREFIX = "com.bizmatters.ide."
MAX_OVERLAP_S, DEFAULT_OVERLAP_S = (round(time.total_seconds()) for time in (MAX_OVERLAP, OVERLAP))

_STATUS_NUMBERS = {
    each: m.WebhookDeliveryStatus.Value(f"WEBHOOK_DELIVERY_STATUS_{each.name}") for each in DeliveryStatus
}


# --- Requests --------------------------------------------------------------------------------


def _validate_event_types(value: object) -> tuple[EventType, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise field_error("must be a list of event types")
    known = {each.value: each for each in EventType}
    if any(not isinstance(each, str) or each not in known for each in value):
        raise field_error(f"must each be one of {', '.join(known)}")
    return tuple(known[each] for each in dict.fromkeys(value))


EventTypes = Annotated[
    tuple[EventType, ...],
    PlainValidator(_validate_event_types, json_schema_input_type=list[EventType] | None),
]
_Url = Annotated[str, Field(min_length=1, max_length=MAX_URL)]


class CreateWebhookRequest(RequestModel):
    """A webhook to create."""

    target_url: Annotated[_Url, Field(description="The address to call: `https://`, and not a private one.")]
    event_types: Annotated[EventTypes, Field(description="What to report; empty for everything.")] = ()
    workflow_id: Annotated[
        Annotated[UUID, UUID_TEXT] | None,
        Field(description="One of the caller's workflows; null for all proposals that the caller may see."),
    ] = None

    def command(self) -> CreateWebhook:
        """The command."""
        return CreateWebhook(self.target_url, self.event_types or tuple(EventType), self.workflow_id)


class UpdateWebhookRequest(RequestModel):
    """Changes of a webhook. What is left out stays as it is."""

    target_url: Annotated[_Url | None, Field(description="The address to call.")] = None
    event_types: Annotated[EventTypes, Field(description="What to report from now on.")] = ()
    enabled: Annotated[bool | None, Field(description="Whether it is to be called.")] = None

    def command(self) -> UpdateWebhook:
        """The command. Raises InvalidArgument when it changes nothing."""
        if self.target_url is None and not self.event_types and self.enabled is None:
            raise InvalidArgument({"target_url": "is missing: say what to change"})
        return UpdateWebhook(self.target_url, self.event_types, self.enabled)


class RotateWebhookSecretRequest(RequestModel):
    """For how long the previous secret also signs."""

    overlap_s: Annotated[
        Annotated[int, Field(ge=0, le=MAX_OVERLAP_S), WHOLE_NUMBER] | None,
        Field(description="Seconds for which calls are also signed with the previous secret."),
    ] = DEFAULT_OVERLAP_S

    @property
    def overlap(self) -> timedelta:
        """The overlap."""
        return timedelta(seconds=DEFAULT_OVERLAP_S if self.overlap_s is None else self.overlap_s)


class WebhooksQuery(PageQuery):
    """Which page of the caller's webhooks."""

    cursor: Annotated[str | None, Field(description=CURSOR_TEXT, json_schema_extra=WEBHOOKS_CURSOR)] = None


class DeliveriesQuery(PageQuery):
    """Which page of a webhook's deliveries."""

    cursor: Annotated[str | None, Field(description=CURSOR_TEXT, json_schema_extra=DELIVERIES_CURSOR)] = None


def create_webhook(request: m.CreateWebhookRequest) -> CreateWebhook:
    """The command of a message. Raises InvalidArgument."""
    values = {
        "target_url": request.target_url,
        "event_types": tuple(request.event_types),
        "workflow_id": request.workflow_id if request.HasField("workflow_id") else None,
    }
    return CreateWebhookRequest.model_validate(values).command()


def update_webhook(request: m.UpdateWebhookRequest) -> UpdateWebhook:
    """The command of a message. Raises InvalidArgument."""
    values: dict[str, Any] = {
        name: getattr(request, name) for name in ("target_url", "enabled") if request.HasField(name)
    }
    values["event_types"] = tuple(request.event_types)
    return UpdateWebhookRequest.model_validate(values).command()


def rotation_overlap(request: m.RotateWebhookSecretRequest) -> timedelta:
    """The overlap of a message. Raises InvalidArgument."""
    values = {"overlap_s": request.overlap_seconds} if request.HasField("overlap_seconds") else {}
    with renamed_fields({"overlap_s": "overlap_seconds"}):
        return RotateWebhookSecretRequest.model_validate(values).overlap


# --- Messages --------------------------------------------------------------------------------


def webhook_message(webhook: domain.Webhook) -> m.Webhook:
    """A webhook, with its secret if the record has it (contract: Webhook)."""
    message = m.Webhook(
        id=str(webhook.id),
        owner_user_id=str(webhook.owner_user_id),
        target_url=webhook.target_url,
        event_types=webhook.event_types,
        enabled=webhook.enabled,
        disabled_reason=webhook.disabled_reason or "",
    )
    if webhook.workflow_id is not None:
        message.workflow_id = str(webhook.workflow_id)
    if webhook.failing_since is not None:
        set_time(message.failing_since, webhook.failing_since)
    if webhook.secret is not None:
        message.secret = shown_secret(webhook.secret)
    if webhook.previous_secret_expires_at is not None:
        set_time(message.previous_secret_expire_time, webhook.previous_secret_expires_at)
    set_time(message.create_time, webhook.created_at)
    return message


def created_message(written: WrittenWebhook) -> m.CreateWebhookResponse:
    """The response to a creation."""
    return m.CreateWebhookResponse(webhook=webhook_message(written.webhook), replayed=written.replayed)


def rotated_message(written: WrittenWebhook) -> m.RotateWebhookSecretResponse:
    """The response to a rotation."""
    return m.RotateWebhookSecretResponse(webhook=webhook_message(written.webhook), replayed=written.replayed)


def webhooks_message(page: Page) -> m.ListWebhooksResponse:
    """A page of webhooks."""
    return m.ListWebhooksResponse(
        webhooks=map(webhook_message, page.items), next_page_token=page.next_token or ""
    )


def delivery_message(delivery: domain.Delivery) -> m.WebhookDelivery:
    """A delivery (contract: WebhookDelivery)."""
    message = m.WebhookDelivery(
        id=str(delivery.id),
        event_type=delivery.event_type,
        proposal_id=str(delivery.proposal_id),
        status=_STATUS_NUMBERS[delivery.status],
        attempt_count=delivery.attempts,
        http_status=delivery.http_status,
        failure=delivery.failure,
    )
    set_time(message.create_time, delivery.created_at)
    if delivery.next_attempt_at is not None:
        set_time(message.next_attempt_time, delivery.next_attempt_at)
    if delivery.delivered_at is not None:
        set_time(message.deliver_time, delivery.delivered_at)
    return message


def deliveries_message(page: Page) -> m.ListWebhookDeliveriesResponse:
    """A page of deliveries."""
    return m.ListWebhookDeliveriesResponse(
        deliveries=map(delivery_message, page.items), next_page_token=page.next_token or ""
    )


# --- JSON ------------------------------------------------------------------------------------


class Webhook(msgspec.Struct):
    """Where events are reported to its owner. `workflow_id` is null when it is about all proposals that the
    owner may see. `disabled_reason` is null while it is enabled. `secret` is shown once, when it is created
    or rotated; otherwise it is null."""

    id: UUID
    owner_user_id: UUID
    workflow_id: UUID | None
    target_url: str
    event_types: list[EventType]
    enabled: bool
    disabled_reason: str | None
    failing_since: datetime | None
    secret: str | None
    previous_secret_expires_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, webhook: domain.Webhook) -> Self:
        """The JSON of a record."""
        secret = None if webhook.secret is None else shown_secret(webhook.secret)
        return model_of(cls, webhook, event_types=list(webhook.event_types), secret=secret)


class WebhookPage(msgspec.Struct):
    """A page of webhooks. `next_cursor` is null on the last page."""

    items: list[Webhook]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page) -> Self:
        """The JSON of a page."""
        return cls([Webhook.of(item) for item in page.items], page.next_token)


class WebhookDelivery(msgspec.Struct):
    """An event that a webhook reports. `id` is the `webhook-id` of each attempt. `http_status` is of the last
    attempt's answer, 0 without one; `failure` says why it failed, and is empty if it did not."""

    id: UUID
    event_type: EventType
    proposal_id: UUID
    status: DeliveryStatus
    attempts: int
    http_status: int
    failure: str
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None

    @classmethod
    def of(cls, delivery: domain.Delivery) -> Self:
        """The JSON of a record."""
        return model_of(cls, delivery)


class WebhookDeliveryPage(msgspec.Struct):
    """A page of deliveries, newest first. `next_cursor` is null on the last page."""

    items: list[WebhookDelivery]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page) -> Self:
        """The JSON of a page."""
        return cls([WebhookDelivery.of(item) for item in page.items], page.next_token)


# --- What receivers get ----------------------------------------------------------------------


def cloud_event(claim: Claim) -> bytes:
    """The body of a call: a CloudEvent 1.0 in JSON, the same bytes at each attempt."""
    ids = {
        name: str(getattr(claim, name)) for name in ("proposal_id", "thread_id", "workflow_id", "draft_id")
    }
    event: Mapping[str, object] = {
        "specversion": "1.0",
        "id": str(claim.event_id),
        "source": workflow_url(claim.workflow_id),
        "type": EVENT_PREFIX + claim.event_type,
        "subject": str(claim.proposal_id),
        "time": rfc3339(claim.created_at),
        "datacontenttype": "application/json",
        "data": {**ids, **dict(sorted(claim.data.items()))},
    }
    return dumps(event)
