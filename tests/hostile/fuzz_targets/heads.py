"""Fuzz target for the bytes of requests over HTTP/1.1."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.server import ServerState

from server.http.http_protocol import HubHttpProtocol
from server.http.server import uvicorn_config
from tests.hostile.fuzz_targets.target import Target

_LOOP = asyncio.new_event_loop()


class _Client(asyncio.Transport):
    """A client that sends, and reads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._closing = False

    def write(self, data: Any) -> None:
        """Drop it."""

    def close(self) -> None:
        """Note that the server closed."""
        self._closing = True

    abort = close

    def is_closing(self) -> bool:
        """Whether the server closed."""
        return self._closing

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits."""

    def pause_reading(self) -> None:
        """What is fed is read."""

    def resume_reading(self) -> None:
        """What is fed is read."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Nothing comes after an upgrade."""


async def _requests(pieces: list[bytes]) -> list[tuple[str, bytes, list[Any], bytes]]:
    """The requests that an application receives from a client that sends these pieces."""
    asked: list[tuple[str, bytes, list[Any], bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            event = await receive()
            if event["type"] != "http.request":
                return
            body, more = body + event["body"], event["more_body"]
        asked.append((scope["method"], scope["raw_path"], scope["headers"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn_config(app, drain_s=0)  # type: ignore[arg-type]
    config.load()
    state = ServerState()
    protocol, transport = HubHttpProtocol(config, state, {}, _LOOP), _Client()
    protocol.connection_made(transport)
    for piece in pieces:
        if transport.is_closing():
            break
        protocol.data_received(piece)
    for _ in range(100):
        await asyncio.sleep(0)
        if not state.tasks:
            break
    protocol.connection_lost(None)
    for task in state.tasks:
        task.cancel()
    await asyncio.gather(*state.tasks, return_exceptions=True)
    return asked


def heads(data: bytes) -> None:
    """Requests over HTTP/1.1: an application receives the same ones whatever pieces they arrive in. The first
    byte sets the size of the pieces."""
    size, sent = 1 + (data[0] if data else 0), data[1:]
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
    assert _LOOP.run_until_complete(_requests(pieces)) == _LOOP.run_until_complete(_requests([sent]))


TARGETS = {
    "heads": Target(
        heads,
        [
            b"\x07GET /a?x=1 HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n",
            b"\x03POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
            b"\r\n\r\nGET / HTTP/1.0\r\n\r\n",
            b"\x10POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n"
            b"5;e=1\r\nhello\r\n0\r\nx: y\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\n",
            b"\x01GET /w HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ],
    ),
}
