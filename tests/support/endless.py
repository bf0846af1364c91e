"""Servers that are not hubs: what they send has no end, or is far larger than what a hub sends."""

from __future__ import annotations

import asyncio
from asyncio import StreamWriter
from collections.abc import AsyncIterator

from websockets.asyncio.server import ServerConnection

from tests.support.servers import Answerer

#: Above what a client takes as one message.
LARGE = 65 << 20


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def endless(status: int, *, pause_s: float = 0) -> Answerer:
    """Answers with pieces without an end: JSON, or server-sent events at a path with `/line` (one event) and
    `/lines` (none)."""

    async def answer(head: bytes, body: bytes, writer: StreamWriter) -> bytes:
        target = head.split(b" ", 2)[1]
        kind = "application/json" if status == 200 else "application/problem+json"
        piece = b" " if pause_s else b" " * (64 << 10)
        if target.startswith(b"/line"):
            kind = "text/event-stream"
            piece = b"x: y\n" * 10_000 if target.startswith(b"/lines") else b"x" * (64 << 10)
        sent = f"HTTP/1.1 {status} Scripted\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(sent.encode())
        while True:
            writer.write(_chunk(piece))
            await writer.drain()
            await asyncio.sleep(pause_s)

    return answer


async def endless_messages(socket: ServerConnection) -> None:
    """A WebSocket with a message without an end at `/pieces`, a large one at `/large`, and else one that is
    no message of the contract."""
    assert socket.request is not None
    path = socket.request.path

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    if path.startswith("/pieces"):
        await socket.send(pieces())
    else:
        await socket.send(bytes(LARGE) if path.startswith("/large") else "[")
        await socket.wait_closed()
