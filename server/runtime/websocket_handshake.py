"""Opening a WebSocket (RFC 6455), with a library's handshake: the frames, or why there are none."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.uri import parse_uri

from server.domain.runs.runtime import FrameReceiver
from server.runtime.socket_reader import ReadBuffers, SocketReader, open_connection
from server.runtime.websocket import FindMessages, WebSocketFrames, whole_messages

#: Longest head of an answer to a handshake, in bytes.
MAX_HEAD_BYTES = 64 << 10
_HEAD_END = b"\r\n\r\n"
#: Milliseconds after which the kernel gives up a peer that acknowledges nothing, not even a ping. A peer's
#: kernel does that for a process that is busy, too: only a peer that is gone does not.
USER_TIMEOUT_MS = 60_000
_REFUSAL = re.compile(rb"HTTP/1\.[01] ([2-5]\d\d)\b")

# The library logs each frame at DEBUG, and frames contain prompts and files.
_LIBRARY_LOG = logging.getLogger(f"{__name__}.library")
_LIBRARY_LOG.setLevel(logging.WARNING)


class HandshakeRefused(Exception):
    """The server answered the handshake with another status than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class NoWebSocket(Exception):
    """What answers at the address is not a WebSocket server."""


@asynccontextmanager
async def open_websocket(
    url: str,
    *,
    handshake_s: float,
    max_frame_bytes: int,
    buffers: ReadBuffers,
    receiver: FrameReceiver,
    find: FindMessages = whole_messages,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[WebSocketFrames]:
    """The frames that a server sends, from the handshake on, without those that the receiver has
    handled.

    buffers: of the event loop. tls: how the certificate of a wss address is verified; to make it takes too
    long for each connection.

    Raises HandshakeRefused, NoWebSocket, TimeoutError, OSError.
    """
    uri = parse_uri(url)
    async with asyncio.timeout(handshake_s):
        reader = await open_connection(
            uri.host,
            uri.port,
            buffers=buffers,
            ssl=(tls or ssl.create_default_context()) if uri.secure else None,
        )
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connected = reader.transport.get_extra_info("socket")
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        try:
            await _shake_hands(ClientProtocol(uri, logger=_LIBRARY_LOG), reader)
        except BaseException:
            reader.transport.abort()
            raise
    frames = WebSocketFrames(reader, receiver, max_frame_bytes=max_frame_bytes, find=find)
    try:
        yield frames
    finally:
        await frames.close()


async def _shake_hands(protocol: ClientProtocol, reader: SocketReader) -> None:
    protocol.send_request(protocol.connect())
    reader.transport.write(b"".join(protocol.data_to_send()))
    head = await _head(reader)
    refusal = _REFUSAL.match(head)
    if refusal is not None:
        # Its body is not read: one in chunks of a byte would hold the event loop for half a second.
        raise HandshakeRefused(int(refusal[1]))
    protocol.receive_data(head)
    if protocol.state is not State.OPEN:
        raise NoWebSocket


async def _head(reader: SocketReader) -> bytes:
    """The answer up to the end of its head. Raises NoWebSocket."""
    read = b""
    while (end := read.find(_HEAD_END)) < 0:
        if len(read) > MAX_HEAD_BYTES:
            raise NoWebSocket
        try:
            read += await reader.read()
        except EOFError:
            raise NoWebSocket from None
    end += len(_HEAD_END)
    reader.unread(read[end:])
    return read[:end]
