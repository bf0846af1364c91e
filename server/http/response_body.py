"""Sends the body of a response in pieces: no more of it waits here than its client is about to take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from litestar.types import Send

from server.http.connection import PIECE_BYTES, Connection, Pace

#: Headers of a stream: clients must see each part at once, so no proxy may buffer it, or change anything.
STREAM_HEADERS = {"cache-control": "no-store, no-transform", "x-accel-buffering": "no"}


def joined(parts: Iterable[bytes], size_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
    """The parts, with those that follow each other joined while they have at most so many bytes together."""
    together: list[bytes] = []
    size = 0
    for part in parts:
        if together and size + len(part) > size_bytes:
            yield b"".join(together)
            together, size = [], 0
        together.append(part)
        size += len(part)
    if together:
        yield b"".join(together)


async def send_pieces(body: bytes, send: Send, connection: Connection, pace: Pace) -> None:
    """Send a part of an answer's body, and wait until little of it waits. Raises SlowReader."""
    for at in range(0, len(body), PIECE_BYTES):
        piece = body[at : at + PIECE_BYTES]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await pace.drain(len(piece))
