"""Floods over HTTP and WebSocket: what a stranger, the holder of a share link, or an account can send."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle

from websockets.frames import Opcode

from tests.hostile.attacks.attack import Aim, Family, NotHeld, ask_on, told
from tests.hostile.attacks.sockets import (
    Flood,
    event_stream,
    frame,
    head,
    holding,
    place,
    silent,
    stopped,
    upgrade,
)

FAMILY = Family("floods over HTTP and WebSocket")
#: Sockets of a flood.
SOCKETS = 4
#: The most that a body may have where a definition is taken, less the form around it (bytes).
DEFINITION_BYTES = 2_560_000
#: Starts of a minute, by default, and how many an attack may get: it may last from one minute into the next.
MAX_STARTS = 2 * 120


async def _socket_flood(aim: Aim, unit: bytes, begun: bytes = b"", *, more: Sequence[str] = ()) -> str:
    flood = Flood(upgrade(aim.thread_id, aim.link, more=more), unit, begun, upgraded=True)
    return str(await flood.send(aim.http, sockets=SOCKETS, seconds=aim.seconds))


@FAMILY.attack()
async def ws_continuations(aim: Aim) -> str:
    """A share link's WebSockets send empty continuation frames without end."""
    return await _socket_flood(aim, frame(Opcode.CONT, final=False), frame(Opcode.TEXT, final=False))


@FAMILY.attack()
async def ws_pings(aim: Aim) -> str:
    """A share link's WebSockets send pings without end."""
    return await _socket_flood(aim, frame(Opcode.PING))


@FAMILY.attack()
async def ws_texts(aim: Aim) -> str:
    """A share link's WebSockets send messages of one byte without end."""
    return await _socket_flood(aim, frame(Opcode.TEXT, b"x"))


@FAMILY.attack()
async def ws_large_messages(aim: Aim) -> str:
    """A share link's WebSockets send messages of 4 KiB without end."""
    return await _socket_flood(aim, frame(Opcode.BINARY, b"x" * 4000))


@FAMILY.attack()
async def ws_fragments(aim: Aim) -> str:
    """A share link's WebSockets send a message in 10,000 fragments of a byte, again and again."""
    unit = frame(Opcode.TEXT, b"x", final=False) + frame(Opcode.CONT, b"x", final=False) * 9_998
    return await _socket_flood(aim, unit + frame(Opcode.CONT, b"x"))


@FAMILY.attack()
async def ws_deflated(aim: Aim) -> str:
    """A share link's WebSockets offer compression, and send compressed zeros without end."""
    unit = bytearray(frame(Opcode.BINARY, zlib.compress(bytes(4 << 20), 9, wbits=-15)[:3990]))
    # The bit that marks a compressed message.
    unit[0] |= 0x40
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    return await _socket_flood(aim, bytes(unit), more=[offer])


@FAMILY.attack()
async def ws_tokens(aim: Aim) -> str:
    """A share link's WebSockets send invalid tokens without end."""
    return await _socket_flood(aim, frame(Opcode.TEXT, b'{"type": "auth", "token": "a.b.c"}'))


@FAMILY.attack()
async def ws_bursts(aim: Aim) -> str:
    """50 WebSockets of a share link send 10,000 pongs each, all at once, every second."""
    burst, refused = frame(Opcode.PONG) * 10_000, 0
    async with holding(aim.http, [upgrade(aim.thread_id, aim.link)] * 50) as made:
        await asyncio.sleep(0.5)
        for _ in range(max(1, int(aim.seconds))):
            for each in made:
                try:
                    each.send(burst)
                except OSError:
                    refused += 1
            await asyncio.sleep(1)
    return f"{refused} bursts were not taken"


@FAMILY.attack()
async def ws_below_the_limit(aim: Aim) -> str:
    """200 WebSockets of a share link send 4 frames a second each, just what each may send."""
    async with holding(aim.http, [upgrade(aim.thread_id, aim.link)] * 200) as made:
        pong, until = frame(Opcode.PONG), time.monotonic() + aim.seconds
        while time.monotonic() < until:
            for each in made:
                with suppress(OSError):
                    each.send(pong)
            await asyncio.sleep(0.26)
    return f"{len(made)} sockets"


async def _churn(aim: Aim, first: bytes) -> str:
    """Open connections with a request, 20 at a time, and leave as soon as the answer begins."""
    until, opened_so_far = time.monotonic() + aim.seconds, 0

    async def one() -> None:
        nonlocal opened_so_far
        while time.monotonic() < until:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(*place(aim.http))
                opened_so_far += 1
                writer.write(first)
                await reader.read(1)
                writer.transport.abort()

    await asyncio.gather(*(one() for _ in range(20)))
    return f"{opened_so_far} connections"


@FAMILY.attack()
async def ws_churn(aim: Aim) -> str:
    """A share link's WebSockets are opened and left, 20 at a time, as fast as the hub opens them."""
    return await _churn(aim, upgrade(aim.thread_id, aim.link))


@FAMILY.attack()
async def http_churn(aim: Aim) -> str:
    """An account's event streams are opened and left, 20 at a time, as fast as the hub opens them."""
    return await _churn(aim, event_stream(aim.thread_id, aim.token))


@FAMILY.attack()
async def http_waiting_pages(aim: Aim) -> str:
    """An account waits for a page of events on 500 connections."""
    path = f"/api/refinements/{aim.thread_id}/events?after=20&wait=25"
    return await stopped(aim.http, [head(path, aim.token)] * 500, aim.seconds)


async def _flood(aim: Aim, first: bytes, unit: bytes) -> str:
    return str(await Flood(first, unit).send(aim.http, sockets=SOCKETS, seconds=aim.seconds))


@FAMILY.attack()
async def http_blank_lines(aim: Aim) -> str:
    """Strangers send blank lines without end after a request."""
    return await _flood(aim, head("/healthz"), b"\r\n")


@FAMILY.attack()
async def http_headers(aim: Aim) -> str:
    """Strangers send heads of header lines without values, without end."""
    return await _flood(aim, head("/healthz")[:-2], b"a:\r\n")


@FAMILY.attack()
async def http_trailers(aim: Aim) -> str:
    """An account sends trailers of a body in chunks, without end."""
    more = ["Transfer-Encoding: chunked"]
    return await _flood(
        aim, head("/api/workflows", aim.token, method="POST", more=more) + b"0\r\n", b"a:\r\n"
    )


@FAMILY.attack()
async def http_chunks(aim: Aim) -> str:
    """An account sends a body in chunks of one byte, without end."""
    more = ["Transfer-Encoding: chunked"]
    return await _flood(aim, head("/api/workflows", aim.token, method="POST", more=more), b"1\r\n \r\n")


@FAMILY.attack()
async def http_refused_bodies(aim: Aim) -> str:
    """Strangers send bodies of 100 GB, though they are refused at the head."""
    more = ["Content-Length: 100000000000"]
    return await _flood(aim, head("/api/workflows", method="POST", more=more), b" " * 65536)


@FAMILY.attack()
async def http_pipelined(aim: Aim) -> str:
    """Strangers send requests without end, before the answers to the first, which they read."""
    return await _flood(aim, b"", head("/healthz"))


@FAMILY.attack()
async def http_pipelined_behind_a_stream(aim: Aim) -> str:
    """A share link's requests without end, behind one whose answer is a stream."""
    return await _flood(aim, event_stream(aim.thread_id, aim.link), head("/healthz"))


@FAMILY.attack()
async def http_silent(aim: Aim) -> str:
    """600 connections that send nothing, half a head, half a body or half an upgrade, a byte at a time."""
    body = head("/api/workflows", aim.token, method="POST", more=["Content-Length: 1000"])
    kinds = [(b"", b""), (head("/healthz")[:-2], b"X: y\r\n"), (body, b" "), (head("/healthz"), b"\r\n")]
    kinds += [(body, b""), (upgrade(aim.thread_id, aim.token)[:-20], b"")]
    found = await asyncio.gather(
        *(silent(aim.http, first, count=100, seconds=aim.seconds, again=again) for first, again in kinds)
    )
    return "; ".join(found)


@FAMILY.attack(settings={"IDEO_MAX_CONNECTIONS": "120"})
async def http_connections(aim: Aim) -> str:
    """Twice as many silent connections as the port has places, opened again every two seconds."""
    until, found = time.monotonic() + aim.seconds, ""
    while (left_s := until - time.monotonic()) > 0:
        found = await silent(aim.http, b"", count=240, seconds=min(left_s, 2.0))
    return found


@FAMILY.attack()
async def http_lists(aim: Aim) -> str:
    """An account lists its proposals on 50 connections, without end."""
    async with aim.client() as http:
        return told(await ask_on(50, aim.seconds, lambda: http.get("/api/proposals")))


@FAMILY.attack()
async def http_readiness(aim: Aim) -> str:
    """Strangers ask for the readiness on 50 connections, without end."""
    async with aim.client("") as http:
        return told(await ask_on(50, aim.seconds, lambda: http.get("/readyz")))


@FAMILY.attack()
async def http_metrics(aim: Aim) -> str:
    """Strangers scrape the metrics on 50 connections, without end."""
    async with aim.client("") as http:
        return told(await ask_on(50, aim.seconds, lambda: http.get("/metrics")))


@FAMILY.attack()
async def http_descriptions(aim: Aim) -> str:
    """Strangers ask for the description of the interface on 1,500 connections, and read nothing."""
    return await stopped(aim.http, [head("/openapi.json")] * 1_500, aim.seconds)


def _definition(unit: bytes) -> bytes:
    """A workflow whose definition is a list of as many units as a body may have."""
    count = (DEFINITION_BYTES - 100) // (len(unit) + 1)
    return b'{"name": "w", "agent_definition": {"x": [' + (unit + b",") * count + b"1]}}"


@FAMILY.attack()
async def http_definitions(aim: Aim) -> str:
    """Four connections send workflows of 2.5 MiB of empty lists, objects, numbers and names."""
    bodies = [_definition(unit) for unit in (b"[]", b"{}", b"1")]
    members = b",".join(b'"k%d":1' % number for number in range(200_000))
    bodies.append(b'{"name": "w", "agent_definition": {"x": {' + members + b"}}}")
    bodies.append(b'{"name": "w", ' + members + b"}")
    in_turn = cycle(bodies)
    async with aim.client() as http:
        return told(await ask_on(4, aim.seconds, lambda: http.post("/api/workflows", content=next(in_turn))))


@FAMILY.attack()
async def http_paths(aim: Aim) -> str:
    """Four connections send workflows with 500 files in folders of great depth."""
    files = {"/" + "a/" * 480 + f"f{number}": "x" for number in range(500)}
    async with aim.client() as http:
        return told(
            await ask_on(
                4, aim.seconds, lambda: http.post("/api/workflows", json={"name": "w", "files": files})
            )
        )


@FAMILY.attack()
async def http_starts(aim: Aim) -> str:
    """An account starts refinements on 50 connections, as fast as it can."""
    path, job = f"/api/workflows/{aim.workflow_id}/refinements", {"user_prompt": "go on"}
    async with aim.client() as http:
        found = await ask_on(50, aim.seconds, lambda: http.post(path, json=job))
    if sum(count for status, count in found.items() if status < 300) > MAX_STARTS:
        raise NotHeld(f"more than {MAX_STARTS} were started: {told(found)}")
    return told(found)
