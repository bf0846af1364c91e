"""uvicorn's two protocols with what long streams need (ADR 0006).

They build on uvicorn's classes, whose version is pinned; tests/contract/faces/test_http_protocols.py
holds what is used of them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from server.domain.errors import InvalidArgument
from server.http.connection import EXTENSION, HIGH_WATER_BYTES, SEND_DEADLINE_S, Connection
from server.wire.problems import MEDIA_TYPE, problem_json
from server.wire.resources import dumps

#: Seconds that a client has to answer a close before its connection is closed anyway.
CLOSE_TIMEOUT_S = 1.0
#: Longest request line and headers together, in bytes.
MAX_HEAD_BYTES = 32 << 10

# uvicorn logs a socket's address with its query, where a token may stand.
_quiet = logging.getLogger("server.http.uvicorn")
_quiet.setLevel(logging.WARNING)


class HubConfig(Config):
    """uvicorn's configuration with how long a client may take nothing, in seconds."""

    send_deadline_s = SEND_DEADLINE_S


def _deadline_s(config: Config) -> float:
    return config.send_deadline_s if isinstance(config, HubConfig) else SEND_DEADLINE_S


class HubSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket whose handler may write frames itself.

    What clients say is read at once, so that their closes and pongs are always seen, and handed to
    `Connection.said`; a message above `ws_max_size` is answered with a close of 1009.
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was taken over from the HTTP protocol."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.stream = Connection(
            self.transport,
            writable=self.writable.is_set,
            wait=self.writable.wait,
            deadline_s=_deadline_s(self.config),
        )

    async def run_asgi(self) -> None:
        """Run the application, then make sure that the connection ends."""
        self.scope["extensions"][EXTENSION] = self.stream  # type: ignore[assignment]
        await super().run_asgi()
        if not self.disconnected:
            # What still waits has as long again as the stream had for it.
            linger_s = self.close_timeout + _deadline_s(self.config)
            self._linger = self.loop.call_later(linger_s, self.stream.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        if self._linger is not None:
            self._linger.cancel()
        self.stream.lost()

    def data_received(self, data: bytes) -> None:
        """Bytes came in, first of all the upgrade request that the HTTP protocol passes on."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            # The library's limits are narrower than HTTP's; uvicorn would leave the client waiting.
            self._refuse_upgrade()

    def handle_ping(self) -> None:
        """Answer a ping, unless so much waits to be sent already that the client does not read."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_close(self, event: Any) -> None:
        """The client closes: nothing may be written behind the answer."""
        super().handle_close(event)
        self.stream.lost()

    def keepalive_timeout(self) -> None:
        """The client no longer answers pings."""
        super().keepalive_timeout()
        self.stream.lost()

    def send_receive_event_to_app(self) -> None:
        """Hand over a message of the client's; nothing waits for it."""
        message, self.frames = b"".join(self.frames), []
        self.stream.said(message)

    def handle_parser_exception(self) -> None:
        """The client breaks the protocol."""
        if self.conn.close_sent is None:
            # Before the upgrade there is no close to send, which uvicorn takes for granted.
            self._refuse_upgrade()
            return
        super().handle_parser_exception()
        self.stream.lost()

    def _refuse_upgrade(self) -> None:
        self.transport.write(_bad_request("the upgrade request is malformed, or too large"))
        self.transport.close()
        self.stream.lost()

    def shutdown(self) -> None:
        """The server stops: a stream says goodbye itself, with the cursor to go on from. One that is
        just being opened does so as soon as it is open."""
        if not self.stream.stop() and self.handshake_complete:
            super().shutdown()


class HubHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a bound on the size of heads, and streams that learn of their client's end."""

    stream: Connection
    _head_bytes = 0
    _in_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        flow = self.flow
        self.stream = Connection(
            transport,
            writable=lambda: not flow.write_paused,
            wait=flow.drain,
            deadline_s=_deadline_s(self.config),
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        self.stream.lost()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self.scope["extensions"] = {EXTENSION: self.stream}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        """A request's head is there."""
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            # The parser's callbacks refuse by raising; it is answered with 400.
            raise ValueError("the head is too large")
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("the head is too large")
                return
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, and close."""
        self.transport.write(_bad_request("the request line or the headers are malformed, or too large"))
        self.transport.close()

    def shutdown(self) -> None:
        """The server stops: the answer under way is the last, and a stream ends itself."""
        super().shutdown()
        self.stream.stop()


def _bad_request(wrong: str) -> bytes:
    error = InvalidArgument({"request": wrong})
    body = dumps(problem_json(error, instance="", trace_id=""))
    return (
        STATUS_LINE[400]
        + f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
        + body
    )
