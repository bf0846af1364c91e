"""deepagents-runtime whose frames come over the Redis channel that it publishes to (ADR 0013).

The server of the channel speaks Redis' protocol (Dragonfly, Valkey, Redis). The channel of a thread is
`langgraph:stream:{thread_id}`; each message is a frame, and nothing is kept. That of the job's id is joined
before the invoke; a runtime that chooses the thread's id publishes to another, which is joined after it.
Each run has its own connection, so a run that is read slowly does not delay another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server.bounded_redis import Omitted, bounded_parser
from server.domain.errors import RuntimeUnavailable
from server.domain.runs.runtime import (
    READER_ALONE,
    AdmitFrame,
    FrameReceiver,
    Frames,
    OversizedFrame,
    StreamClosed,
)
from server.runtime.client import MAX_FRAME_BYTES, DeepagentsRuntime

_AWAY = (RedisError, OSError, TimeoutError)
_SUBSCRIBED = b"subscribe"
#: Items of an answer: a message has four.
_MAX_ITEMS = 64
#: Answers between two messages that nobody asked for.
_MAX_UNASKED = 1_000
#: Seconds by which a timer is late when this process was paused.
_MAX_LATE_S = 0.5
#: A subscription is reported with this status.
_SUBSCRIBED_STATUS = 200


def channel_of(thread_id: str) -> str:
    """The name of a thread's channel."""
    return f"langgraph:stream:{thread_id}"


class _Room:
    """The room for the message that is being read. admit: as for `Runtime.stream`."""

    def __init__(self, admit: AdmitFrame) -> None:
        self._admit = admit
        #: Whether there is room for the message.
        self.admitted = False
        #: Whether the last read ended while it waited for room.
        self.waits = False

    async def admit(self, size_bytes: int) -> None:
        """Wait until there is room for a message."""
        self.waits = True
        await self._admit(size_bytes)
        self.waits, self.admitted = False, True


class _Messages:
    """The messages of a channel since its subscription. Never ends; raises StreamClosed.

    Nothing is read ahead: unread messages wait at the server, which closes the connection when there are
    too many.
    """

    def __init__(self, connection: Connection, *, quiet_s: float, max_bytes: int, room: _Room) -> None:
        self._connection, self._room = connection, room
        self._quiet_s, self._max_bytes = quiet_s, max_bytes

    def __aiter__(self) -> Frames:
        return self

    async def __anext__(self) -> Sequence[bytes | OversizedFrame]:
        unanswered = self._room.admitted = False
        unasked = 0
        while True:
            began = time.monotonic()
            try:
                answer = await self._connection.read_response(timeout=self._quiet_s)
                if answer is None and self._room.waits:
                    # The server is not silent: it is the hub that does not read.
                    self._room.waits = False
                    continue
                if answer is None and not unanswered:
                    async with asyncio.timeout(self._quiet_s):
                        await self._connection.send_command("PING", check_health=False)
            except _AWAY:
                raise StreamClosed("the connection to the runtime's events broke") from None
            if answer is None:
                if time.monotonic() - began > self._quiet_s + _MAX_LATE_S:
                    # This process was paused: what came meanwhile waits to be read.
                    continue
                if unanswered:
                    raise StreamClosed("the server of the runtime's events does not answer")
                unanswered = True
                continue
            unasked, unanswered = unasked + (not unanswered), False
            match answer:
                case [b"message", _, Omitted() as omitted]:
                    return [OversizedFrame(omitted.length)]
                case [b"message", _, bytes() as frame]:
                    if len(frame) > self._max_bytes:
                        return [OversizedFrame(len(frame))]
                    if not self._room.admitted:
                        await self._room.admit(len(frame))
                    return [frame]
            if unasked > _MAX_UNASKED:
                raise StreamClosed("the server of the runtime's events sends what nobody asked for")
            # What waits already is read without a pause, and others must have their turn.
            await asyncio.sleep(0)


class ChannelRuntime(DeepagentsRuntime):
    """deepagents-runtime read over its Redis channel. Implements `Runtime`; one per process.

    events_url: redis:// or rediss://, with user and password if the server needs them. answer_s: time for
    the server to confirm a subscription. quiet_s: silence after which the server is pinged; after the same
    time without an answer, the connection is closed. Otherwise as DeepagentsRuntime. The channel's
    messages are trusted like the runtime's own; the size of the server's answers is bounded.
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
            # With a timeout of the library's own, `asyncio.wait_for` inside it sometimes loses a
            # cancellation on Python 3.11.
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "retry": Retry(NoBackoff(), 0),
            "client_name": "ide-orchestrator",
        }
        self._connection_class = self._connect_with.pop("connection_class", Connection)
        # A subscriber does not select a database.
        self._connect_with.pop("db", None)
        self._answer_s, self._quiet_s = answer_s, quiet_s
        #: How rediss:// verifies certificates: to make it takes too long for each connection.
        self._tls: Any = None

    @asynccontextmanager
    async def stream(self, thread_id: str, receiver: FrameReceiver = READER_ALONE) -> AsyncIterator[Frames]:
        """The thread's frames from now on: the server has confirmed the subscription once it is entered.

        The library's own PubSub is not used: it reconnects by itself, which would hide a gap.
        """
        room = _Room(receiver.admit)
        # A longer frame is skipped as it comes; the channel's name and the word before it are short.
        parser = bounded_parser(
            max_bytes=self._max_frame_bytes + 4096,
            max_items=_MAX_ITEMS,
            omits_long_texts=True,
            admit=room.admit,
        )
        connection: Connection = self._connection_class(**self._connect_with, parser_class=parser)
        if self._tls is not None:
            connection.ssl_context = self._tls  # type: ignore[attr-defined] # that of SSLConnection
        self._tls = getattr(connection, "ssl_context", None)
        try:
            try:
                async with asyncio.timeout(self._answer_s):
                    await connection.connect()  # type: ignore[no-untyped-call]
                    await connection.send_command("SUBSCRIBE", channel_of(thread_id), check_health=False)
                    answer = await connection.read_response()
            except _AWAY:
                answer = None
            subscribed = isinstance(answer, list) and answer[:1] == [_SUBSCRIBED]
            self._on_answer("stream", _SUBSCRIBED_STATUS if subscribed else None)
            if not subscribed:
                raise RuntimeUnavailable("the runtime's events cannot be subscribed to", sent=False)
            yield _Messages(connection, quiet_s=self._quiet_s, max_bytes=self._max_frame_bytes, room=room)
        finally:
            await connection.disconnect(nowait=True)
