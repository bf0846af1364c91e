"""Webhooks: create, list, change, delete; their secrets and deliveries."""

from __future__ import annotations

from uuid import UUID

from litestar import delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from server.domain.fair_budget import Reservation
from server.domain.webhooks.store import WrittenWebhook
from server.http.dependencies import Cases, query_dependency
from server.http.json_io import MAX_BODY_BYTES, HubRequest, JsonResponse
from server.http.large_answers import JsonText, LargeAnswer
from server.http.lists import LINK, list_text
from server.http.openapi import header, operation
from server.http.preconditions import REPLAYED, KeyHeader, headers_of_replay, request_key
from server.wire.addresses import webhook_url
from server.wire.webhooks import (
    CreateWebhookRequest,
    DeliveriesQuery,
    RotateWebhookSecretRequest,
    UpdateWebhookRequest,
    Webhook,
    WebhookDelivery,
    WebhookDeliveryPage,
    WebhookPage,
    WebhooksQuery,
)


@post(
    "/api/webhooks",
    **operation(
        "createWebhook",
        "webhooks",
        (400, 404, 409, 413, 422, 429),
        response_description="The webhook, with its secret",
        request_max_body_size=MAX_BODY_BYTES,
        response_headers=[header("Location", "The address of the webhook."), REPLAYED],
    ),
)
async def create_webhook(
    request: HubRequest, use_cases: Cases, data: JSONBody[CreateWebhookRequest], key: KeyHeader = None
) -> JsonResponse[Webhook]:
    """Create a webhook: the hub then reports what happens to the proposals that you may see. The same request
    with the same key is answered with the same secret."""
    written = await use_cases.webhooks.create(request.user, data.command(), key=request_key(request))
    return _answer(written, {"Location": webhook_url(written.webhook.id)})


@get(
    "/api/webhooks",
    **operation(
        "listWebhooks",
        "webhooks",
        (400, 429),
        response_description="A page of webhooks",
        dependencies=query_dependency(WebhooksQuery),
        response_headers=[LINK],
    ),
)
async def list_webhooks(
    request: HubRequest, use_cases: Cases, params: NamedDependency[WebhooksQuery]
) -> JsonResponse[WebhookPage]:
    """The caller's webhooks without their secrets, newest first."""

    async def read(reservation: Reservation) -> JsonText:
        page = await use_cases.webhook_store.list(request.user, limit=params.size, token=params.cursor)
        return list_text(request, WebhookPage.of(page))

    return LargeAnswer(request, use_cases, read)


@get(
    "/api/webhooks/{webhook_id:str}",
    **operation("getWebhook", "webhooks", (404,), response_description="The webhook, without its secret"),
)
async def get_webhook(
    request: HubRequest, use_cases: Cases, webhook_id: FromPath[UUID]
) -> JsonResponse[Webhook]:
    """A webhook."""
    return JsonResponse(Webhook.of(await use_cases.webhook_store.get(request.user, webhook_id)))


@patch(
    "/api/webhooks/{webhook_id:str}",
    **operation(
        "updateWebhook",
        "webhooks",
        (400, 404, 413),
        response_description="The webhook, without its secret",
        request_max_body_size=MAX_BODY_BYTES,
    ),
)
async def update_webhook(
    request: HubRequest, use_cases: Cases, webhook_id: FromPath[UUID], data: JSONBody[UpdateWebhookRequest]
) -> JsonResponse[Webhook]:
    """Change a webhook. One that is enabled counts as sound until its next call fails."""
    webhook = await use_cases.webhooks.update(request.user, webhook_id, data.command())
    return JsonResponse(Webhook.of(webhook))


@delete(
    "/api/webhooks/{webhook_id:str}",
    **operation("deleteWebhook", "webhooks", (404,), response_description="The webhook is deleted"),
)
async def delete_webhook(request: HubRequest, use_cases: Cases, webhook_id: FromPath[UUID]) -> None:
    """Delete a webhook with its deliveries."""
    await use_cases.webhook_store.delete(request.user, webhook_id)


@post(
    "/api/webhooks/{webhook_id:str}/rotate",
    **operation(
        "rotateWebhookSecret",
        "webhooks",
        (400, 404, 413, 422, 429),
        response_description="The webhook, with its new secret",
        status_code=200,
        request_max_body_size=MAX_BODY_BYTES,
        response_headers=[REPLAYED],
    ),
)
async def rotate_webhook_secret(
    request: HubRequest,
    use_cases: Cases,
    webhook_id: FromPath[UUID],
    data: JSONBody[RotateWebhookSecretRequest],
    key: KeyHeader = None,
) -> JsonResponse[Webhook]:
    """Make a new secret. For a while, calls are also signed with the previous one. The same request with the
    same key is answered with the same secret."""
    return _answer(
        await use_cases.webhooks.rotate(request.user, webhook_id, data.overlap, key=request_key(request)), {}
    )


@get(
    "/api/webhooks/{webhook_id:str}/deliveries",
    **operation(
        "listWebhookDeliveries",
        "webhooks",
        (400, 404, 429),
        response_description="A page of deliveries",
        dependencies=query_dependency(DeliveriesQuery),
        response_headers=[LINK],
    ),
)
async def list_webhook_deliveries(
    request: HubRequest,
    use_cases: Cases,
    webhook_id: FromPath[UUID],
    params: NamedDependency[DeliveriesQuery],
) -> JsonResponse[WebhookDeliveryPage]:
    """A webhook's deliveries of the last 30 days, newest first."""

    async def read(reservation: Reservation) -> JsonText:
        page = await use_cases.webhook_store.deliveries(
            request.user, webhook_id, limit=params.size, token=params.cursor
        )
        return list_text(request, WebhookDeliveryPage.of(page))

    return LargeAnswer(request, use_cases, read)


@post(
    "/api/webhooks/{webhook_id:str}/deliveries/{delivery_id:str}/redeliver",
    **operation(
        "redeliverWebhook",
        "webhooks",
        (404, 409, 413, 429),
        response_description="The delivery, which is due now",
        status_code=200,
        request_max_body_size=MAX_BODY_BYTES,
    ),
)
async def redeliver_webhook(
    request: HubRequest, use_cases: Cases, webhook_id: FromPath[UUID], delivery_id: FromPath[UUID]
) -> JsonResponse[WebhookDelivery]:
    """Make a delivery again, under the same id, whether it was delivered or given up."""
    delivery = await use_cases.webhooks.redeliver(request.user, webhook_id, delivery_id)
    return JsonResponse(WebhookDelivery.of(delivery))


def _answer(written: WrittenWebhook, headers: dict[str, str]) -> JsonResponse[Webhook]:
    headers = headers | headers_of_replay(written.replayed)
    return JsonResponse(Webhook.of(written.webhook), headers=headers)


WEBHOOK_ROUTES = [
    create_webhook,
    list_webhooks,
    get_webhook,
    update_webhook,
    delete_webhook,
    rotate_webhook_secret,
    list_webhook_deliveries,
    redeliver_webhook,
]
