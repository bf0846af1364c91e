"""The runtime with its frames from the channel that it publishes to (DESIGN section 5; ADR 0013).

The channel is a Redis-protocol server's (Dragonfly, Valkey, Redis): `langgraph:stream:{thread_id}`, each
message a frame, nothing kept. It is joined before the invoke, on one connection a run, so that a run that
is read slowly holds up no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server.domain.errors import RuntimeUnavailable
from server.domain.runs.runtime import StreamClosed
from server.runtime.client import MAX_FRAME_BYTES, DeepagentsRuntime

_AWAY = (RedisError, OSError, TimeoutError)
_MESSAGE, _SUBSCRIBED = b"message", b"subscribe"
#: The status that a subscription counts as.
_JOINED = 200


def channel_of(thread_id: UUID) -> str:
    """The channel of a thread's frames."""
    return f"langgraph:stream:{thread_id}"


class _Messages:
    """The messages of a channel from the subscription on. Never ends; raises StreamClosed.

    Nothing is read ahead: what is not read waits at the server, which ends the connection when that
    becomes too much.
    """

    def __init__(self, connection: Connection, *, quiet_s: float, max_bytes: int) -> None:
        self._connection = connection
        self._quiet_s, self._max_bytes = quiet_s, max_bytes

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        unanswered = False
        while True:
            try:
                answer = await self._connection.read_response(timeout=self._quiet_s)
                if answer is None and not unanswered:
                    async with asyncio.timeout(self._quiet_s):
                        await self._connection.send_command("PING", check_health=False)
            except _AWAY:
                raise StreamClosed("the connection to the runtime's events broke") from None
            if answer is None:
                if unanswered:
                    raise StreamClosed("the server of the runtime's events does not answer")
                unanswered = True
            elif answer[0] == _MESSAGE:
                frame: bytes = answer[2]
                if len(frame) > self._max_bytes:
                    raise StreamClosed("the runtime sent a frame that is too large")
                return frame
            else:
                unanswered = False


class PublishedRuntime(DeepagentsRuntime):
    """deepagents-runtime whose frames come over its channel. Implements `Runtime`; one per process.

    events_url: redis:// or rediss://, with user and password where the server asks for them.
    answer_s: until a subscription is confirmed. quiet_s: silence after which the server
    is asked whether it is there; as much again without an answer, and the connection is given up.
    Otherwise as DeepagentsRuntime. What comes over the channel is believed: it belongs inside the hub's
    own trust.
    """

    push_only = True

    def __init__(
        self,
        base_url: str,
        events_url: str,
        *,
        answer_s: float = 5.0,
        quiet_s: float = 15.0,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        **limits: Any,
    ) -> None:
        super().__init__(base_url, max_frame_bytes=max_frame_bytes, **limits)
        self._connect_with: dict[str, Any] = {
            **parse_url(events_url),
            "protocol": 2,
            # With a timeout of the library's own, `asyncio.wait_for` inside it loses a cancellation
            # now and then on Python 3.11.
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "retry": Retry(NoBackoff(), 0),
            "client_name": "ide-orchestrator",
        }
        self._connection_class = self._connect_with.pop("connection_class", Connection)
        # A subscriber has no use for a database of the server's.
        self._connect_with.pop("db", None)
        self._answer_s, self._quiet_s = answer_s, quiet_s

    @asynccontextmanager
    async def stream(self, thread_id: UUID) -> AsyncIterator[AsyncIterator[bytes]]:
        """The thread's frames from here on: once entered, the server has confirmed the subscription.

        Not the library's own PubSub, which connects again by itself and so would hide a gap.
        """
        connection: Connection = self._connection_class(**self._connect_with)
        try:
            try:
                async with asyncio.timeout(self._answer_s):
                    await connection.connect()  # type: ignore[no-untyped-call]
                    await connection.send_command("SUBSCRIBE", channel_of(thread_id), check_health=False)
                    answer = await connection.read_response()
            except _AWAY:
                answer = None
            subscribed = bool(answer) and answer[0] == _SUBSCRIBED
            self._answered("stream", _JOINED if subscribed else None)
            if not subscribed:
                raise RuntimeUnavailable("the runtime's events cannot be subscribed to", sent=False)
            yield _Messages(connection, quiet_s=self._quiet_s, max_bytes=self._max_frame_bytes)
        finally:
            await connection.disconnect(nowait=True)
