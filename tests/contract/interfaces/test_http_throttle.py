"""Requests of one caller, and requests that are refused, wait for their turn when there are many; none waits
for a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from server.domain.access.throttle import OF_USER, REFUSED
from server.domain.rates import Rate
from tests.support.http_interface import http_interface, socket
from tests.support.hub import RunningHub
from tests.support.tokens import bearer


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


async def test_a_new_connection_waits_for_its_turn_unless_it_is_a_probe(hub: RunningHub) -> None:
    request = b"GET /api/proposals HTTP/1.1\r\nHost: x\r\n\r\n"
    async with http_interface(hub.core, new_connections=Rate(burst=0, per_s=0.01)) as interface:
        host, _, port = interface.http.removeprefix("http://").rpartition(":")
        first, waiting = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        try:
            # The first one begins; later requests of a connection do not wait.
            for _ in range(2):
                first[1].write(request)
                assert (await first[0].readuntil(b"\r\n\r\n"))[9:12] == b"401"
                await first[0].readuntil(b"}")
            for piece in (request[:20], request[20:]):
                waiting[1].write(piece)
            async with httpx.AsyncClient(base_url=interface.http, trust_env=False, timeout=60) as http:
                assert (await http.get("/healthz")).status_code == 200
                assert (await http.get("/readyz?verbose")).status_code == 200
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await waiting[0].read(1)
        finally:
            for _, writer in (first, waiting):
                writer.close()
        # One that leaves while it waits is gone at once.
        await interface.until_connections(0)


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
