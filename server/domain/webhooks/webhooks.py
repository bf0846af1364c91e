"""The use cases of webhooks. Each webhook belongs to the user or service that created it: others do not learn
that it exists.

A webhook reports nothing to its owner that the owner may not read: the outbox gets an event for the webhooks
of those who may see its proposal, and that is checked again when it is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

from server.domain.access.quotas import Quotas
from server.domain.clock import Clock
from server.domain.errors import InvalidArgument
from server.domain.model import IdempotencyKey, Principal
from server.domain.webhooks.signing import new_secret
from server.domain.webhooks.store import WebhookStore, WrittenWebhook
from server.domain.webhooks.targets import AllowedHosts, BadTarget, parse_target
from server.domain.webhooks.webhook import CreateWebhook, Delivery, UpdateWebhook, Webhook

#: The routes of writes on every interface, for idempotency keys.
CREATE_ROUTE, ROTATE_ROUTE = "create_webhook", "rotate_webhook_secret"


class Webhooks:
    """Writes of webhooks. Reads are the store's (`WebhookStore`). `make_secret` returns a new secret."""

    def __init__(
        self,
        *,
        store: WebhookStore,
        quotas: Quotas,
        clock: Clock,
        allowed_hosts: AllowedHosts,
        make_secret: Callable[[], bytes] = new_secret,
    ) -> None:
        self._store, self._quotas, self._clock = store, quotas, clock
        self._allowed_hosts, self._make_secret = allowed_hosts, make_secret

    async def create(
        self, principal: Principal, command: CreateWebhook, *, key: str | None = None
    ) -> WrittenWebhook:
        """Create a webhook, with its secret. The same command with the same key creates one.

        Raises InvalidArgument for an address that may not be called; LimitReached; and as
        `WebhookStore.create`.
        """
        self._check_target(command.target_url)
        await self._quotas.count_creation(principal.quota_id)
        workflow_id = None if command.workflow_id is None else str(command.workflow_id)
        request = [command.target_url, list(command.event_types), workflow_id]
        return await self._store.create(
            principal,
            command,
            webhook_id=uuid4(),
            secret=self._make_secret(),
            now=self._clock.now(),
            key=_named(CREATE_ROUTE, key, request),
        )

    async def update(self, principal: Principal, webhook_id: UUID, command: UpdateWebhook) -> Webhook:
        """Change a webhook. Raises InvalidArgument for an address that may not be called; NotFound."""
        if command.target_url is not None:
            self._check_target(command.target_url)
        return await self._store.update(principal, webhook_id, command)

    async def rotate(
        self, principal: Principal, webhook_id: UUID, overlap: timedelta, *, key: str | None = None
    ) -> WrittenWebhook:
        """Make a new secret; the previous one also signs during the overlap. Raises LimitReached; KeyReused,
        NotFound."""
        await self._quotas.count_creation(principal.quota_id)
        request = [str(webhook_id), overlap.total_seconds()]
        return await self._store.rotate(
            principal,
            webhook_id,
            secret=self._make_secret(),
            overlap=overlap,
            key=_named(ROTATE_ROUTE, key, request),
        )

    async def redeliver(self, principal: Principal, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Make a delivery again, under the same id. Raises LimitReached; Conflict, NotFound."""
        await self._quotas.count_creation(principal.quota_id)
        return await self._store.redeliver(principal, webhook_id, delivery_id)

    def _check_target(self, url: str) -> None:
        try:
            self._allowed_hosts.check(parse_target(url))
        except BadTarget as wrong:
            raise InvalidArgument({"target_url": str(wrong)}) from None


def _named(route: str, key: str | None, request: object) -> IdempotencyKey | None:
    return None if key is None else IdempotencyKey.of(route, key, request)
