"""Floods of Connect and gRPC-Web: what the holder of a share link can send."""

from __future__ import annotations

import gzip
import json
import struct
from itertools import cycle

import httpx

from tests.hostile.attacks.attack import Aim, Family, NotHeld, ask_on, told
from tests.hostile.attacks.sockets import Flood, head, stopped

FAMILY = Family("floods of Connect and gRPC-Web")
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
