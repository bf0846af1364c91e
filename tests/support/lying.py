"""Servers that are not hubs: their answers have no end, or lie about what they are."""

from __future__ import annotations

import asyncio
import gzip
import json
from asyncio import StreamWriter
from collections.abc import Awaitable, Callable
from itertools import count

from tests.support.servers import Answerer, answer

#: A compressed text, twice: 1 MiB of zeros in 1 MiB of zeros is a few hundred bytes.
BOMB = gzip.compress(gzip.compress(bytes(64 << 20)))
#: JSON that takes some 200 MiB when it is parsed.
DENSE = b'{"items": [' + b"[]," * (3 << 20) + b"1]}"


def _json(value: object, **headers: str) -> bytes:
    return answer(200, json.dumps(value).encode(), **headers)


async def _drip(writer: StreamWriter, head: bytes, piece: bytes) -> bytes:
    """Send a piece again and again, each long before the client would take the connection for dead."""
    writer.write(head)
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.02)


def lying() -> Answerer:
    """Answers by the name at the beginning of the path."""
    pages = count(1)
    drip = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"

    async def interim(writer: StreamWriter) -> bytes:
        return await _drip(writer, b"", b"HTTP/1.1 100 Continue\r\n\r\n")

    lies: dict[bytes, Callable[[StreamWriter], Awaitable[bytes]]] = {
        b"head": lambda writer: _drip(writer, drip, b"x: y\r\n"),
        b"interim": interim,
        b"body": lambda writer: _drip(writer, drip + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    }
    answers: dict[bytes, Callable[[], bytes]] = {
        b"bomb": lambda: answer(200, BOMB, content_encoding="gzip, gzip"),
        b"dense": lambda: answer(200, DENSE),
        # It is true: a file of many lines.
        b"lines": lambda: answer(200, b'{"items": [' + b'"ab",' * (2 << 20) + b'"ab"], "next_cursor": null}'),
        b"nan": lambda: answer(200, b'{"items": [NaN], "next_cursor": null}'),
        b"deep": lambda: answer(200, b"[" * 2_000_000),
        b"digits": lambda: answer(200, b'{"items": [' + b"9" * 100_000 + b'], "next_cursor": null}'),
        b"same": lambda: _json({"items": [1], "next_cursor": "again"}),
        b"empty": lambda: _json({"items": [], "next_cursor": f"page {next(pages)}"}),
        b"shape": lambda: _json({"items": 5, "next_cursor": None}),
        b"cursor": lambda: _json({"items": [1], "next_cursor": {"a": 1}}),
        b"short": lambda: answer(200, b"{}", content_length="100"),
        b"cookies": lambda: _json({"items": [], "next_cursor": None}, set_cookie="a=b; Path=/"),
        b"null": lambda: _json(None),
        b"events": lambda: _json({"items": [{"seq": 1}, {"seq": 1}], "next_cursor": None}),
        b"blame": lambda: _json({"seq": 1, "ranges": [], "next_line": 1, "truncated": False}),
        b"info": lambda: _json({"grpc": {"host": "grpc.example.com", "port": 443, "tls": True}}),
        # After the hub's address, this would name another host.
        b"ticket": lambda: _json({"ticket": "t", "websocket_url": "@elsewhere.example.com/ws?ticket=t"}),
        b"later": lambda: answer(503, b"{}", retry_after="99999999999"),
    }

    async def lie(head: bytes, body: bytes, writer: StreamWriter) -> bytes:
        name = head.split(b" ", 2)[1].split(b"/")[1]
        if name in lies:
            return await lies[name](writer)
        return answers[name]()

    return lie
