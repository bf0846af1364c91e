"""The client with which commands call a hub: the Python client, with streams as JSON and as legacy frames."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from google.protobuf.json_format import MessageToDict
from websockets.typing import Subprotocol

from ide_orchestrator.client import Fault, Hub, Unavailable, streams
from ide_orchestrator.client.following import Heard, OnRetry, while_alive
from ide_orchestrator.client.http_calls import address, with_query
from ide_orchestrator.client.retrying import Backoff
from server.cli import exit_codes
from server.cli.exit_codes import CommandError

#: Seconds without a message of what the journal has, after which a connection counts as dead.
_SILENCE_S = 30.0
#: Connections in a row that brought nothing, after which reading fails.
_MAX_FAILURES = 5
_LEGACY = Subprotocol("ideo.legacy")


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

    async def legacy_frames(self, thread_id: str, last_seq: int) -> AsyncGenerator[tuple[int, str], None]:
        """The legacy frames of the events that have one, each with its seq, up to `last_seq`, which the
        journal has. Raises HubError."""
        seen, backoff = 0, Backoff()
        while seen < last_seq:
            try:
                async with aclosing(self._legacy_connection(thread_id, seen)) as received:
                    async for seq, text in received:
                        seen = seq
                        backoff.reset()
                        yield seq, text
                        if seq >= last_seq:
                            return
                raise Unavailable(f"the hub at {self.url} ended the stream before its last event")
            except Unavailable:
                if backoff.failures >= _MAX_FAILURES:
                    raise
                await asyncio.sleep(backoff.next_pause_s())

    async def _legacy_connection(self, thread_id: str, after: int) -> AsyncGenerator[tuple[int, str], None]:
        """The legacy frames of one WebSocket, each with its seq. Those that the hub makes, for a heartbeat
        and for a failure, have none and are left out."""
        url = with_query(f"{self.url}{address('ws/refinements', thread_id)}", {"after": after})
        token = await self._credentials.token()

        def connect(heard: Heard) -> AsyncGenerator[str | bytes, None]:
            return streams.data_over_websocket(
                url, token, subprotocol=_LEGACY, ssl=self._ssl, use_proxy=self._trust_env, heard=heard
            )

        async with aclosing(while_alive(connect, _SILENCE_S)) as received:
            async for text in received:
                seq = _seq_of(text)
                if seq is not None:
                    yield seq, str(text)


def _seq_of(text: str | bytes) -> int | None:
    """The seq of a legacy frame. Raises Fault."""
    try:
        seq = json.loads(text).get("seq")
    except (ValueError, RecursionError, AttributeError):
        raise Fault("the hub sent a frame that cannot be read") from None
    return seq if isinstance(seq, int) else None


def open_client(url: str, token: str) -> HubClient:
    """A client whose connections are closed when its block ends. It uses no proxies. Raises CommandError."""
    try:
        return HubClient(url, token, trust_env=False)
    except OSError:
        raise CommandError(
            f"SSL_CERT_FILE must name a PEM file of certificates that can be read: {url} has TLS",
            exit_code=exit_codes.USAGE,
        ) from None
