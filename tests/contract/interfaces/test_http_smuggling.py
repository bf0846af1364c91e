"""Raw requests that intermediaries and servers may read differently: none makes the hub answer a request that
stands inside another one's bytes, none is answered with a fault of the hub, and none leaves it waiting."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.support.hand_clock import PATIENCE_S
from tests.support.http_interface import HttpInterface, http_interface
from tests.support.hub import RunningHub

#: The request inside another one: an answer to it names its address.
INNER = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
HOST, CHUNKS = b"Host: x", b"Transfer-Encoding: chunked"


def post(*headers: bytes, body: bytes = b"", line: bytes = b"POST /api/workflows HTTP/1.1") -> bytes:
    """A request with these header lines."""
    return b"\r\n".join([line, *headers, b"", b""]) + body


def chunked(*headers: bytes, body: bytes) -> bytes:
    """A request in chunks."""
    return post(HOST, CHUNKS, *headers, body=body)


LENGTH = b"Content-Length: %d" % len(INNER)
CHUNK = b"%x\r\n" % len(INNER) + INNER + b"\r\n0\r\n\r\n"

#: Requests whose bytes hold another one that nobody sent.
HOSTILE: dict[str, bytes] = {
    # Two ways to tell where the body ends.
    "length and chunks": post(HOST, b"Content-Length: 5", CHUNKS, body=b"0\r\n\r\n" + INNER),
    "chunks and length": post(HOST, CHUNKS, b"Content-Length: 3", body=b"0\r\n\r\n" + INNER),
    "chunks, then a length of zero": post(HOST, CHUNKS, b"Content-Length: 0", body=CHUNK),
    "two lengths": post(HOST, b"Content-Length: 0", LENGTH, body=INNER),
    "two lengths in one line": post(HOST, b"Content-Length: 0, %d" % len(INNER), body=INNER),
    "a length with a sign": post(HOST, b"Content-Length: +%d" % len(INNER), body=INNER),
    "a length below zero": post(HOST, b"Content-Length: -1", body=INNER),
    "a length in hexadecimal": post(HOST, b"Content-Length: 0x%x" % len(INNER), body=INNER),
    "a length with a blank inside": post(HOST, b"Content-Length: 3 5", body=INNER),
    "a length that overflows": post(HOST, b"Content-Length: 18446744073709551616", body=INNER),
    "a length with a point": post(HOST, b"Content-Length: 3.0", body=INNER),
    "no length value": post(HOST, b"Content-Length: ", body=INNER),
    # Encodings that only some understand.
    "chunked twice": post(HOST, CHUNKS, CHUNKS, LENGTH, body=INNER),
    "chunked not last": post(HOST, b"Transfer-Encoding: chunked, identity", LENGTH, body=INNER),
    "identity": post(HOST, b"Transfer-Encoding: identity", LENGTH, body=INNER),
    "an unknown encoding": post(HOST, b"Transfer-Encoding: cow", LENGTH, body=INNER),
    "chunked with a tail": post(HOST, b"Transfer-Encoding: chunkedx", LENGTH, body=INNER),
    "chunked in quotes": post(HOST, b'Transfer-Encoding: "chunked"', LENGTH, body=INNER),
    "chunked behind a tab": post(HOST, b"Transfer-Encoding:\tchunked", LENGTH, body=INNER),
    "chunked behind a vertical tab": post(HOST, b"Transfer-Encoding: \x0bchunked", LENGTH, body=INNER),
    "a blank before the colon": post(HOST, b"Transfer-Encoding : chunked", LENGTH, body=INNER),
    "a blank before a length's colon": post(HOST, b"Content-Length : 0", LENGTH, body=INNER),
    "an underscore": post(HOST, b"Transfer_Encoding: chunked", b"Content_Length: 0", LENGTH, body=INNER),
    # Chunks that are not.
    "a chunk size with a sign": chunked(body=b"+5\r\nhello\r\n0\r\n\r\n" + INNER),
    "a chunk size below zero": chunked(body=b"-1\r\n" + INNER),
    "a chunk size with 0x": chunked(body=b"0x5\r\nhello\r\n0\r\n\r\n" + INNER),
    "a chunk size that overflows": chunked(body=b"fffffffffffffffff\r\n" + INNER),
    "no chunk size": chunked(body=b"\r\n" + INNER),
    "a chunk size that is a word": chunked(body=b"cow\r\n" + INNER),
    "a chunk longer than it says": chunked(body=b"1\r\nhello" + INNER),
    "a chunk without its end": chunked(body=b"5\r\nhelloX\r\n0\r\n\r\n" + INNER),
    "a chunk size ended by a line feed": chunked(body=b"5\nhello\n0\n\n" + INNER),
    "a chunk size ended by a carriage return": chunked(body=b"5\rhello\r0\r\r" + INNER),
    "a chunk extension with a line feed": chunked(body=b"5;a=\nb\r\nhello\r\n0\r\n\r\n" + INNER),
    # Lines.
    "a folded header": post(HOST, b"X: a", b" Content-Length: 0", LENGTH, body=INNER),
    "a folded encoding": post(HOST, b"Transfer-Encoding:", b" chunked", LENGTH, body=INNER),
    "a header without a colon": post(HOST, b"Content-Length 0", LENGTH, body=INNER),
    "a header without a name": post(HOST, b": x", LENGTH, body=INNER),
    "a first line that is blank": b"\r\n\r\n" + post(HOST, b"Content-Length: -1", body=INNER),
    "NUL in a name": post(HOST, b"X\x00: y", LENGTH, body=INNER),
    "NUL in a value": post(HOST, b"X: \x00y", LENGTH, body=INNER),
    "a carriage return in a value": post(HOST, b"X: a\rContent-Length: 0", LENGTH, body=INNER),
    "a line feed in a value": post(HOST, b"X: a\nTransfer-Encoding: chunked", LENGTH, body=INNER),
    "only line feeds": b"POST / HTTP/1.1\nHost: x\nContent-Length: -1\n\n" + INNER,
    "a blank before the first header": b"POST / HTTP/1.1\r\n Host: x\r\n" + LENGTH + b"\r\n\r\n" + INNER,
    # The request line.
    "a version that there is not": post(HOST, LENGTH, line=b"POST / HTTP/1.10", body=INNER),
    "version 2 in words": post(HOST, LENGTH, line=b"POST / HTTP/2.0", body=INNER),
    "no version": post(HOST, LENGTH, line=b"POST /", body=INNER),
    "three blanks": post(HOST, LENGTH, line=b"POST  /  HTTP/1.1", body=INNER),
    "a method in small letters": post(HOST, LENGTH, line=b"post / HTTP/1.1", body=INNER),
    "a method that there is not": post(HOST, LENGTH, line=b"COW / HTTP/1.1", body=INNER),
    "a tunnel": post(HOST, line=b"CONNECT x:80 HTTP/1.1", body=INNER),
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + INNER,
    "a star": post(HOST, b"Content-Length: %d" % len(INNER), line=b"OPTIONS * HTTP/1.1", body=INNER),
    "an address of another server": post(HOST, LENGTH, line=b"POST http://y.example/ HTTP/1.1", body=INNER),
    "an address with a fragment": post(HOST, LENGTH, line=b"POST /#/smuggle HTTP/1.1", body=INNER),
    "raw bytes in the address": post(HOST, LENGTH, line=b"POST /\xff\xfe HTTP/1.1", body=INNER),
    "dots in the address": post(HOST, LENGTH, line=b"POST /api/../../x/%2e%2e%2f HTTP/1.1", body=INNER),
    "two hosts": post(HOST, b"Host: y", LENGTH, body=INNER),
    "no host": post(LENGTH, body=INNER),
    # Bodies where none is expected, and upgrades that are not.
    "a body of GET": post(HOST, LENGTH, line=b"GET /healthz HTTP/1.1", body=INNER),
    "a body of HEAD": post(HOST, LENGTH, line=b"HEAD /healthz HTTP/1.1", body=INNER),
    "a body of OPTIONS": post(HOST, LENGTH, line=b"OPTIONS /healthz HTTP/1.1", body=INNER),
    "an upgrade to HTTP/2": post(HOST, b"Connection: Upgrade", b"Upgrade: h2c", LENGTH, body=INNER),
    "an upgrade with a body": post(
        HOST, b"Connection: Upgrade", b"Upgrade: websocket", LENGTH,
        line=b"GET /api/ws/refinements/x HTTP/1.1", body=INNER,
    ),
    "a refused upgrade": post(
        HOST, b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 0",
        line=b"GET /api/ws/refinements/x HTTP/1.1", body=INNER,
    ),
    "an expectation": post(HOST, b"Expect: 100-continue", LENGTH, body=INNER),
    "an unknown expectation": post(HOST, b"Expect: cow", LENGTH, body=INNER),
}  # fmt: skip


@pytest.fixture
async def interface(hub: RunningHub) -> AsyncIterator[HttpInterface]:
    async with http_interface(hub.core, head_deadline_s=0.5, body_deadline_s=0.5) as opened:
        # A connection that may serve on is closed, too: later than one whose request is not whole.
        opened.server.config.timeout_keep_alive = 1
        yield opened


async def answers(interface: HttpInterface, request: bytes) -> bytes:
    """All that is answered to these bytes, until the hub waits for nothing more and closes the connection."""
    host, _, port = interface.http.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    told = b""
    try:
        writer.write(request)
        async with asyncio.timeout(PATIENCE_S):
            with suppress(OSError):
                while piece := await reader.read(65536):
                    told += piece
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return told


async def test_a_request_inside_anothers_bytes_is_never_answered(interface: HttpInterface) -> None:
    told = await asyncio.gather(*(answers(interface, request) for request in HOSTILE.values()))
    found = dict(zip(HOSTILE, told, strict=True))
    assert not {name for name, text in found.items() if b"/smuggled" in text}
    statuses = {
        name: [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", text)]
        for name, text in found.items()
    }
    assert not {name: codes for name, codes in statuses.items() if any(code >= 500 for code in codes)}
    # One answer each, apart from 100 Continue.
    assert {name: codes for name, codes in statuses.items() if len(codes) != 1 and 100 not in codes} == {}
    await interface.until_connections(0)
    assert len(HOSTILE) > 60


async def test_a_pipelined_request_is_answered_so_a_smuggled_one_would_be_seen(
    interface: HttpInterface,
) -> None:
    proper = post(b"Host: x", b"Content-Length: 2", body=b"{}")
    for request in (proper, chunked(body=b"2\r\n{}\r\n0\r\n\r\n")):
        told = await answers(interface, request + INNER)
        assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", told)] == [401, 404]
        assert b'"instance":"/smuggled"' in told
