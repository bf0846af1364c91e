"""The client with which commands call a hub: the Python client, with streams as JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from google.protobuf.json_format import MessageToDict

from ide_orchestrator.client import Hub
from ide_orchestrator.client.following import OnRetry


class HubClient(Hub):
    """Talks to one hub with one token."""

    async def messages(
        self, thread_id: str, after: int = 0, *, on_retry: OnRetry | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The stream's messages (WatchRefinementResponse as JSON) until the terminal event.

        after, on_retry: as of `watch`. Raises HubError.
        """
        async with aclosing(self.watch(thread_id, after, on_retry=on_retry)) as messages:
            async for message in messages:
                yield MessageToDict(message, preserving_proto_field_name=True)


def open_client(url: str, token: str) -> HubClient:
    """A client whose connections are closed when its block ends. It uses no proxies."""
    return HubClient(url, token, trust_env=False)
