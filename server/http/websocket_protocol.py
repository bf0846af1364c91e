"""uvicorn's protocol of WebSockets, extended for long streams, and what it shares with HTTP's (ADR 0006).

Both (`HubSocketProtocol` here, `server.http.http_protocol` for HTTP) subclass uvicorn's, whose version is
pinned; tests/contract/interfaces/test_http_protocols.py checks everything that they use.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode

from server.domain.access.cut_offs import FLOOD
from server.domain.endings import Endings
from server.domain.errors import HubError, InvalidArgument
from server.domain.loop_turns import LoopTurns
from server.domain.rates import TokenBucket
from server.domain.shared_times import shared_time
from server.http.admission import Admission, credentials_of
from server.http.connection import (
    EXTENSION,
    HIGH_WATER_BYTES,
    PROGRESS_BYTES,
    SEND_DEADLINE_S,
    Connection,
)
from server.http.connection_limit import ConnectionLimit
from server.http.websocket_limits import BYTES, FRAMES, MAX_FRAGMENTS, SLICE_BYTES
from server.wire.problem_details import MEDIA_TYPE, problem_json
from server.wire.problems import problem_of
from server.wire.text import dumps

#: Seconds that a client has to answer a close before the connection is cut.
CLOSE_TIMEOUT_S = 1.0
#: Seconds within which a request's head, and then its body, must arrive.
HEAD_DEADLINE_S, BODY_DEADLINE_S = 10.0, 30.0
#: Maximum connections at a time.
MAX_CONNECTIONS = 10_000

# uvicorn logs a WebSocket's address with its query, which may hold a token.
_quiet = logging.getLogger("server.http.uvicorn")
_quiet.setLevel(logging.WARNING)


class _DiscardedMessages(asyncio.Queue[Any]):
    """Messages to an application that has returned. One queue is enough: it stays empty."""

    def put_nowait(self, item: Any) -> None:
        """Discard a message."""


_DISCARDED = _DiscardedMessages()


class HubConfig(Config):
    """uvicorn's configuration with limits for clients: see `server.http.server.uvicorn_config`."""

    send_deadline_s = SEND_DEADLINE_S
    head_deadline_s, body_deadline_s = HEAD_DEADLINE_S, BODY_DEADLINE_S
    #: What a WebSocket's client may send.
    bytes_rate, frames_rate = BYTES, FRAMES
    connection_limit: ConnectionLimit
    admission: Admission
    endings: Endings
    #: What of requests that are answered already is read in a turn of the loop.
    dropped: LoopTurns
    on_cut_off: Callable[[str], None]


def hub_config(config: Config) -> HubConfig:
    """The configuration that a protocol was made with."""
    assert isinstance(config, HubConfig)
    return config


class HubSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket whose handler may write frames itself.

    The client's messages are read at once, so that its closes and pongs are always seen, and passed to
    `Connection.on_message`. A message above `ws_max_size` is answered with a close of 1009.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _quiet
        self.close_timeout = CLOSE_TIMEOUT_S
        self.stream: Connection
        self._linger: asyncio.TimerHandle | None = None
        #: What the client's system had acknowledged when the last ping was sent, or waited for longer.
        self._acknowledged_bytes = 0
        self._frames_received = 0
        limits = hub_config(config)
        self._bytes, self._frames = TokenBucket(limits.bytes_rate), TokenBucket(limits.frames_rate)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was taken over from the HTTP protocol."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.stream = Connection(
            self.transport,
            writable=self.writable.is_set,
            wait=self.writable.wait,
            deadline_s=hub_config(self.config).send_deadline_s,
            endings=hub_config(self.config).endings,
            admission=hub_config(self.config).admission,
        )

    async def run_asgi(self) -> None:
        """Run the application, and ensure that the connection ends after it."""
        self.scope["extensions"][EXTENSION] = self.stream  # type: ignore[assignment]
        self.app = self._open_and_follow
        await super().run_asgi()
        if not self.disconnected:
            # The data that still waits has the same deadline as in the stream.
            linger_s = self.close_timeout + hub_config(self.config).send_deadline_s
            self._linger = self.loop.call_later(linger_s, self.stream.abort)

    async def _open_and_follow(self, scope: Any, receive: Any, send: Any) -> None:
        """Let the application answer the request. If it opens a stream, follow that, and keep nothing of the
        request."""
        try:
            await self.config.loaded_app(scope, receive, send)
        finally:
            follow, self.stream.after_opening = self.stream.after_opening, None
            if follow is not None:
                del self.request, self.response, self.scope, scope, receive
                # Nobody receives any more.
                self.queue = _DISCARDED
                await follow(send)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        # First, whatever else fails: the socket is closed next, and the kernel's number of it is free again.
        self.stream.lost()
        super().connection_lost(exc)
        if self._linger is not None:
            self._linger.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived, first the upgrade request that the HTTP protocol passes on."""
        if not self.handshake_initiated:
            self.stream.credentials = credentials_of(data)
            self.stream.caller = hub_config(self.config).admission.caller_of(self.stream.credentials)
            super().data_received(data)
            if self.conn.handshake_exc is not None and not self.transport.is_closing():
                # The library's limits are lower than HTTP's; uvicorn would leave the client waiting.
                self._refuse_upgrade()
            return
        now = self.loop.time()
        over = self._bytes.take(len(data), now) > 0
        for start in range(0, len(data), SLICE_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + SLICE_BYTES])
            frames, self._frames_received = self._frames_received, 0
            if self._frames.take(frames, now) > 0:
                over = True
                break
        if over:
            self._refuse_flood()

    def handle_events(self) -> None:
        """Handle what was read; counts the frames."""
        self._frames_received += len(self.conn.events)
        super().handle_events()

    def handle_cont(self, event: Any) -> None:
        """A fragment of a message arrived, after the first."""
        if self.transport.is_closing():
            return
        if len(self.frames) >= MAX_FRAGMENTS:
            self._refuse_flood()
            return
        super().handle_cont(event)

    def _refuse_flood(self) -> None:
        """The client sent too much: close, and read no more."""
        if self.transport.is_closing():
            return
        hub_config(self.config).on_cut_off(FLOOD)
        if not self.handshake_complete:
            self.stream.abort()
            return
        self.conn.fail(CloseCode.MESSAGE_TOO_BIG)
        self.handle_parser_exception()

    def handle_ping(self) -> None:
        """Answer a ping, unless so much data waits that the client clearly does not read."""
        if self.writable.is_set():
            super().handle_ping()
            self.stream.written_aside()
        else:
            self.conn.data_to_send()

    def handle_close(self, event: Any) -> None:
        """The client closes: nothing may be written after the answer."""
        super().handle_close(event)
        self.stream.lost()

    def schedule_ping(self) -> None:
        """Schedule the next ping, together with those of other connections: thousands of clients that are
        pinged and answer one by one would wake the process for each."""
        assert self.ping_interval is not None
        at = shared_time((self.ping_sent_at or self.loop.time()) + self.ping_interval, self.ping_interval)
        self.ping_timer = self.loop.call_at(at, self.send_keepalive_ping)

    def send_keepalive_ping(self) -> None:
        """Send a ping; what the client's system acknowledges from now on shows that it takes data."""
        self._acknowledged_bytes = self.stream.acknowledged_bytes
        super().send_keepalive_ping()
        self.stream.written_aside()

    def keepalive_timeout(self) -> None:
        """The client did not answer a ping. The stream closes itself, with the cursor to continue from.

        The ping waits for the other data, in the kernel too, so the client has more time while it takes that.
        """
        acknowledged = self.stream.acknowledged_bytes
        progress, self._acknowledged_bytes = acknowledged - self._acknowledged_bytes, acknowledged
        if progress >= PROGRESS_BYTES and self.ping_timeout is not None:
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
            return
        self.pong_timer = self.pending_ping_payload = None
        if not self.close_sent and not self.transport.is_closing():
            self.stream.unanswered()

    async def send(self, message: Any) -> None:
        """Send a message of the application. Raises ClientDisconnected."""
        if self.transport.is_closing():
            # Otherwise uvicorn would log an error for a client that broke its upgrade off.
            self.handshake_complete = True
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # The upgrade is refused. Otherwise uvicorn would log an error.
            self.handshake_complete = True

    def send_receive_event_to_app(self) -> None:
        """Pass a message of the client on, without waiting. Text must be UTF-8 (RFC 6455 section 8.1)."""
        message, self.frames = b"".join(self.frames), []
        if self.curr_msg_data_type == "text":
            try:
                message.decode()
            except UnicodeDecodeError:
                self.conn.fail(CloseCode.INVALID_DATA)
                self.handle_parser_exception()
                return
        self.stream.on_message(message)

    def handle_parser_exception(self) -> None:
        """The client violated the protocol."""
        if self.conn.close_sent is None:
            # Before the upgrade a close frame is not possible, but uvicorn would send one.
            self._refuse_upgrade()
            return
        super().handle_parser_exception()
        self.stream.lost()

    def _refuse_upgrade(self) -> None:
        wrong = "the upgrade request is malformed, or too large"
        self.transport.write(refusal(InvalidArgument({"request": wrong})))
        self.transport.close()
        self.stream.lost()

    def shutdown(self) -> None:
        """The server stops. A stream closes itself, with the cursor to continue from; if it is being opened,
        as soon as it is open."""
        if not self.stream.stop() and self.handshake_complete:
            super().shutdown()


def refusal(error: HubError) -> bytes:
    """The answer to a request that the application does not see; the connection ends after it."""
    body = dumps(problem_json(error, instance="", trace_id=""))
    head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
    if error.retry_after_s is not None:
        head += f"retry-after: {error.retry_after_s}\r\n"
    return STATUS_LINE[problem_of(error).http] + f"{head}\r\n".encode() + body
