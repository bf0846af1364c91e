"""Requests of one caller, and requests that are refused, wait for their turn when there are many; none waits
for a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast
from uuid import uuid4

import httpx
import pytest
from litestar.types import Receive, Scope, Send
from websockets.exceptions import InvalidStatus

from server.domain.access.throttle import OF_USER, REFUSED
from server.domain.rates import Rate
from server.http.http_protocol import MAX_PIPELINED
from server.http.listener import listening_socket
from server.http.server import uvicorn_config
from tests.support.http_interface import HttpInterface, http_interface, socket, upgrade_request
from tests.support.hub import RunningHub
from tests.support.servers import uvicorn_server
from tests.support.tokens import bearer

Opened: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
REQUEST = b"GET /api/proposals HTTP/1.1\r\nHost: x\r\n\r\n"


def in_a_second(rate: Rate) -> int:
    """So many calls take a second at least, however fast the machine is."""
    return int(rate.burst + rate.per_s)


async def test_a_user_makes_so_many_requests_in_a_second(hub: RunningHub) -> None:
    async with httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as http:
        headers = bearer(hub.token())
        # From now on the hub knows the user.
        await http.get("/api/proposals/no-id", headers=headers)
        began = time.monotonic()
        # What needs no database: that many queries at once may be refused on a busy machine.
        asks = [http.get("/api/proposals/no-id", headers=headers) for _ in range(in_a_second(OF_USER))]
        answers = Counter(answer.status_code for answer in await asyncio.gather(*asks))
    assert time.monotonic() - began >= 1
    assert answers == {404: in_a_second(OF_USER)}


async def test_so_many_requests_and_upgrades_are_refused_in_a_second(hub: RunningHub) -> None:
    ((_, rate),) = REFUSED

    async def upgraded() -> int:
        try:
            async with socket(hub.http, str(uuid4()), "a.b.c"):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    async with httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as http:

        async def asked() -> int:
            return (await http.get("/api/proposals")).status_code

        began = time.monotonic()
        asks = [asked() if number % 2 else upgraded() for number in range(in_a_second(rate))]
        answers = Counter(await asyncio.gather(*asks))
    assert time.monotonic() - began >= 1
    assert answers == {401: in_a_second(rate)}


@asynccontextmanager
async def connected(interface: HttpInterface, count: int) -> AsyncIterator[list[Opened]]:
    """So many connections."""
    host, _, port = interface.http.removeprefix("http://").rpartition(":")
    made = [await asyncio.open_connection(host, int(port)) for _ in range(count)]
    try:
        yield made
    finally:
        for _, writer in made:
            writer.close()


async def status_of(opened: Opened, *pieces: bytes) -> bytes:
    """The status of the answer to a request that is sent in pieces; waits until the answer is complete."""
    reader, writer = opened
    for piece in pieces:
        writer.write(piece)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length[15:]))
    return head[9:12]


async def waits(opened: Opened, *pieces: bytes) -> bool:
    """Whether there is no answer to a request."""
    try:
        async with asyncio.timeout(0.1):
            await status_of(opened, *pieces)
    except TimeoutError:
        return True
    return False


async def test_a_strangers_request_waits_for_its_turn_unless_it_is_a_probe_on_a_new_connection(
    hub: RunningHub,
) -> None:
    async with http_interface(hub.core, strangers=Rate(burst=0, per_s=0.01)) as interface:
        async with connected(interface, 3) as (first, second, probe):
            assert await status_of(first, REQUEST) == b"401"
            assert await waits(second, REQUEST[:20], REQUEST[20:])
            assert await waits(first, REQUEST)
            assert await status_of(probe, b"GET /healthz?verbose HTTP/1.1\r\nHost: x\r\n\r\n") == b"200"
            assert await waits(probe, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        # Those that leave while they wait are gone at once.
        await interface.until_connections(0)


async def test_who_was_identified_does_not_wait_for_strangers(hub: RunningHub) -> None:
    token = hub.token()
    request = REQUEST[:-2] + f"Authorization: Bearer {token}\r\n\r\n".encode()
    async with (
        http_interface(hub.core, strangers=Rate(burst=0, per_s=0.01)) as interface,
        connected(interface, 4) as (first, second, third, stranger),
    ):
        assert await status_of(first, request) == b"200"
        assert await waits(stranger, REQUEST)
        for opened in (first, second):
            assert await status_of(opened, request) == b"200"
        thread = str(uuid4())
        assert await status_of(third, upgrade_request(token, thread, "ideo.v1")) == b"403"


async def test_what_is_sent_before_the_answer_makes_nobody_known(hub: RunningHub) -> None:
    of_ann = REQUEST[:-2] + f"Authorization: Bearer {hub.token()}\r\n\r\n".encode()
    async with (
        http_interface(hub.core, strangers=Rate(burst=1, per_s=0.01)) as interface,
        connected(interface, 2) as (first, second),
    ):
        first[1].write(REQUEST + of_ann)
        for status in (b"401", b"200"):
            assert await status_of(first) == status
        assert await waits(second, REQUEST)


async def test_a_request_that_waits_too_long_is_refused(hub: RunningHub) -> None:
    async with (
        http_interface(hub.core, strangers=Rate(burst=0, per_s=0.01), head_deadline_s=0.2) as interface,
        connected(interface, 1) as (first,),
    ):
        assert await status_of(first, REQUEST) == b"401"
        async with connected(interface, 1) as (second,):
            assert await status_of(second, REQUEST) == b"429"
        assert await status_of(first, REQUEST) == b"429"


async def test_a_client_that_sends_too_many_requests_at_once_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    config = uvicorn_config(cast(Any, app), drain_s=2)
    async with (
        uvicorn_server(config, listening_socket("127.0.0.1", 0)) as (server, address),
        connected(HttpInterface(server, address), 1) as ((reader, writer),),
    ):
        writer.write(REQUEST * (MAX_PIPELINED + 2))
        assert (await reader.read())[9:12] == b"400"
    assert not caplog.records


async def test_no_request_waits_for_a_thread(hub: RunningHub) -> None:
    """Litestar calls functions that are not coroutines in threads, which costs as much as the rest of a small
    request."""
    before = set(threading.enumerate())
    async with httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as http:
        for path in ("/healthz", "/readyz", "/api/proposals", f"/api/proposals/{uuid4()}"):
            for headers in ({}, bearer(hub.token())):
                await http.get(path, headers=headers)
        await http.post("/api/workflows", json={"name": "w"}, headers=bearer(hub.token()))
    started = {thread.name for thread in set(threading.enumerate()) - before}
    assert not [name for name in started if name.startswith("asyncio")]
