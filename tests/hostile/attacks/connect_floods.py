"""Floods of Connect and gRPC-Web, and hostile headers: what the holder of a share link can send."""

from __future__ import annotations

import gzip
import json
import struct
from itertools import cycle

import httpx
from websockets.frames import Opcode

from tests.hostile.attacks.attack import Aim, Family, NotHeld, ask_on, told
from tests.hostile.attacks.sockets import Flood, frame, head, stopped, upgrade

FAMILY = Family("floods of Connect and gRPC-Web, and hostile headers")
SERVICE = "/ide_orchestrator.v1.RefinementService"
STREAMED = ("application/connect+json", "application/connect+proto")
GRPC_WEB = ("application/grpc-web", "application/grpc-web+json", "application/grpc-web-text")
#: As large as a message may be.
MESSAGE_BYTES = 4 << 20
#: What becomes 1,000 times as large.
BOMB = gzip.compress(bytes(64 << 20), 9)


def _envelope(flags: int, size: int) -> bytes:
    return struct.pack(">BI", flags, size)


def _call(aim: Aim, content_type: str, *more: str) -> bytes:
    """The head of a call that watches the live run."""
    lines = [f"Content-Type: {content_type}", *more]
    return head(f"{SERVICE}/WatchRefinement", aim.link, method="POST", more=lines)


@FAMILY.attack()
async def connect_envelopes(aim: Aim) -> str:
    """A share link's call sends empty envelopes without end, each in a chunk of its own."""
    chunk = b"5\r\n" + _envelope(0, 0) + b"\r\n"
    flood = Flood(_call(aim, STREAMED[0], "Transfer-Encoding: chunked"), chunk)
    return str(await flood.send(aim.http, sockets=4, seconds=aim.seconds))


@FAMILY.attack()
async def connect_half_envelopes(aim: Aim) -> str:
    """A share link's 60 calls with messages of 4 MiB, of which the last byte never comes."""
    requests = []
    for content_type, _ in zip(cycle(STREAMED + GRPC_WEB[:2]), range(60), strict=False):
        size = f"Content-Length: {MESSAGE_BYTES + 5}"
        body = _envelope(0, MESSAGE_BYTES) + bytes(MESSAGE_BYTES - 1)
        requests.append(_call(aim, content_type, size) + body)
    return await stopped(aim.http, requests, aim.seconds)


@FAMILY.attack()
async def connect_bombs(aim: Aim) -> str:
    """A share link sends zeros compressed to a thousandth, in every content type and under every name."""
    calls = []
    for content_type in ("application/json", "application/proto", *STREAMED, *GRPC_WEB):
        for header in ("Content-Encoding", "Connect-Content-Encoding", "Grpc-Encoding"):
            for flags in (0, 1):
                headers = {"Content-Type": content_type, header: "gzip"}
                calls.append((headers, _envelope(flags, len(BOMB)) + BOMB))
    in_turn = cycle(calls)
    async with aim.client(aim.link) as http:

        async def ask() -> httpx.Response:
            headers, body = next(in_turn)
            answer = await http.post(f"{SERVICE}/WatchRefinement", headers=headers, content=body)
            if b"hello" in answer.content:
                raise NotHeld("a compressed request was read")
            return answer

        return told(await ask_on(8, aim.seconds, ask))


@FAMILY.attack()
async def connect_lengths(aim: Aim) -> str:
    """A share link's envelopes name other lengths than they have."""
    message = json.dumps({"threadId": aim.thread_id}).encode()
    in_turn = cycle([0, 1, len(message) - 1, len(message) + 1, 2**31, 2**32 - 1])
    async with aim.client(aim.link) as http:
        path, headers = f"{SERVICE}/WatchRefinement", {"Content-Type": STREAMED[0]}
        return told(
            await ask_on(
                16,
                aim.seconds,
                lambda: http.post(path, headers=headers, content=_envelope(0, next(in_turn)) + message),
            )
        )


@FAMILY.attack()
async def ws_deflated(aim: Aim) -> str:
    """A share link's WebSockets offer compression, and send compressed zeros without end."""
    offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    first = upgrade(aim.thread_id, aim.link)[:-2] + offer
    unit = bytearray(frame(Opcode.BINARY, BOMB[10:4000]))
    unit[0] |= 0x40
    flood = Flood(first, bytes(unit), upgraded=True)
    return str(await flood.send(aim.http, sockets=4, seconds=aim.seconds))


@FAMILY.attack()
async def ws_fragments(aim: Aim) -> str:
    """A share link's WebSockets send a message in 10,000 fragments of a byte, again and again."""
    unit = frame(Opcode.TEXT, b"x", final=False) + frame(Opcode.CONT, b"x", final=False) * 9_998
    flood = Flood(upgrade(aim.thread_id, aim.link), unit + frame(Opcode.CONT, b"x"), upgraded=True)
    return str(await flood.send(aim.http, sockets=4, seconds=aim.seconds))


#: Of a request's conditions, positions and ids.
NAMES = (
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Range",
    "If-Range",
    "Last-Event-ID",
    "traceparent",
    "tracestate",
    "baggage",
    "Cookie",
    "Forwarded",
    "Accept",
    "Accept-Language",
    "Prefer",
)
#: 10,000 characters each: what a head may have leaves room for them.
VALUES = (
    '"' + "a" * 9_998 + '"',
    '"a",' * 2_500,
    "W/" * 5_000,
    "bytes=" + "0-," * 3_331,
    "9" * 10_000,
    "-" * 10_000,
    "00-" + "a" * 9_997,
    "a=b," * 2_500,
    "text/event-stream;q=0.1," * 416,
    "\t \t" * 3_333 + "x",
    "\\" * 10_000,
    "%00%ff" * 1_666,
    "\xff" * 10_000,
)


@FAMILY.attack()
async def http_conditions(aim: Aim) -> str:
    """A share link's requests with conditions, ranges, positions and traces of 10,000 characters."""
    headers = cycle([(name, value) for name in (*NAMES, "cursor") for value in VALUES])
    paths = cycle([f"/api/refinements/{aim.thread_id}/events", f"/api/proposals/{aim.proposal_id}"])
    async with aim.client(aim.link) as http:

        async def ask() -> httpx.Response:
            name, value = next(headers)
            position = name == "cursor"
            sent = [] if position else [(name.encode(), value.encode("latin-1"))]
            params = {"cursor": value} if position else {"limit": "1"}
            answer = await http.get(next(paths), headers=sent, params=params)
            if answer.status_code >= 500 and answer.status_code != 503:
                raise NotHeld(f"{name}: {value[:20]} is answered with {answer.status_code}")
            return answer

        return told(await ask_on(50, aim.seconds, ask))
