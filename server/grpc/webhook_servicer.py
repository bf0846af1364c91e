"""The methods of webhooks: check the fields, call the use case, make the answer."""

from __future__ import annotations

from ide_orchestrator.v1.webhook_pb2_grpc import WebhookServiceServicer
from server.domain.webhooks.store import WebhookStore
from server.domain.webhooks.webhooks import Webhooks
from server.grpc.authentication import Context, caller
from server.wire import messages as m
from server.wire.pages import PAGE_NAMES, PageQuery, page_values
from server.wire.validation import idempotency_key, renamed_fields, uuid_or_not_found
from server.wire.webhooks import (
    create_webhook,
    created_message,
    deliveries_message,
    delivery_message,
    rotated_message,
    rotation_overlap,
    update_webhook,
    webhook_message,
    webhooks_message,
)


class WebhookServicer(WebhookServiceServicer):
    """Manage webhooks (contract: WebhookService)."""

    def __init__(self, webhooks: Webhooks, store: WebhookStore) -> None:
        self._webhooks, self._store = webhooks, store

    async def CreateWebhook(
        self, request: m.CreateWebhookRequest, context: Context
    ) -> m.CreateWebhookResponse:
        """Contract: CreateWebhook."""
        command = create_webhook(request)
        key = idempotency_key(request.request_id or None, "request_id")
        return created_message(await self._webhooks.create(caller(), command, key=key))

    async def GetWebhook(self, request: m.GetWebhookRequest, context: Context) -> m.GetWebhookResponse:
        """Contract: GetWebhook."""
        webhook_id = uuid_or_not_found(request.webhook_id, "webhook")
        webhook = await self._store.get(caller(), webhook_id)
        return m.GetWebhookResponse(webhook=webhook_message(webhook))

    async def ListWebhooks(self, request: m.ListWebhooksRequest, context: Context) -> m.ListWebhooksResponse:
        """Contract: ListWebhooks."""
        with renamed_fields(PAGE_NAMES):
            query = PageQuery.model_validate(page_values(request))
            page = await self._store.list(caller(), limit=query.size, token=query.cursor)
        return webhooks_message(page)

    async def UpdateWebhook(
        self, request: m.UpdateWebhookRequest, context: Context
    ) -> m.UpdateWebhookResponse:
        """Contract: UpdateWebhook."""
        webhook_id = uuid_or_not_found(request.webhook_id, "webhook")
        webhook = await self._webhooks.update(caller(), webhook_id, update_webhook(request))
        return m.UpdateWebhookResponse(webhook=webhook_message(webhook))

    async def DeleteWebhook(
        self, request: m.DeleteWebhookRequest, context: Context
    ) -> m.DeleteWebhookResponse:
        """Contract: DeleteWebhook."""
        await self._store.delete(caller(), uuid_or_not_found(request.webhook_id, "webhook"))
        return m.DeleteWebhookResponse()

    async def RotateWebhookSecret(
        self, request: m.RotateWebhookSecretRequest, context: Context
    ) -> m.RotateWebhookSecretResponse:
        """Contract: RotateWebhookSecret."""
        webhook_id = uuid_or_not_found(request.webhook_id, "webhook")
        overlap = rotation_overlap(request)
        key = idempotency_key(request.request_id or None, "request_id")
        return rotated_message(await self._webhooks.rotate(caller(), webhook_id, overlap, key=key))

    async def ListWebhookDeliveries(
        self, request: m.ListWebhookDeliveriesRequest, context: Context
    ) -> m.ListWebhookDeliveriesResponse:
        """Contract: ListWebhookDeliveries."""
        webhook_id = uuid_or_not_found(request.webhook_id, "webhook")
        with renamed_fields(PAGE_NAMES):
            query = PageQuery.model_validate(page_values(request))
            page = await self._store.deliveries(caller(), webhook_id, limit=query.size, token=query.cursor)
        return deliveries_message(page)

    async def RedeliverWebhook(
        self, request: m.RedeliverWebhookRequest, context: Context
    ) -> m.RedeliverWebhookResponse:
        """Contract: RedeliverWebhook."""
        webhook_id = uuid_or_not_found(request.webhook_id, "webhook")
        delivery_id = uuid_or_not_found(request.delivery_id, "delivery")
        delivery = await self._webhooks.redeliver(caller(), webhook_id, delivery_id)
        return m.RedeliverWebhookResponse(delivery=delivery_message(delivery))
