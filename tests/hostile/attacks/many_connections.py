"""Calls on many connections: each of them asks for little, and all together for more than there is."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

from server.domain.access.sharing import SHARE_PREFIX
from tests.hostile.attacks import http2
from tests.hostile.attacks.attack import Aim, Family, told
from tests.hostile.attacks.grpc_floods import churn
from tests.hostile.attacks.http2 import connection, message
from tests.hostile.attacks.sockets import BLOCK, head, place

FAMILY = Family("calls on many connections")
#: Calls that are sent at a time on one connection.
AT_ONCE = 25
#: Seconds after which a new connection is left for another.
STAY_S = 2.0
#: An address of the loopback that no other user of the campaign has.
OWN_ADDRESS = "127.0.0.2"


async def _kept(aim: Aim, count: int, requests: Sequence[bytes]) -> str:
    """Ask on so many connections, which stay open, again as soon as the answer has come."""
    until, statuses = time.monotonic() + aim.seconds, Counter[str]()

    async def one(number: int) -> None:
        while (left_s := until - time.monotonic()) > 0:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(left_s):
                    reader, writer = await asyncio.open_connection(*place(aim.http))
                    try:
                        writer.write(requests[number % len(requests)])
                        while data := await reader.read(BLOCK):
                            if data.startswith(b"HTTP/1.1 "):
                                statuses[data[9:12].decode("latin-1")] += 1
                                number += 1
                                writer.write(requests[number % len(requests)])
                    finally:
                        writer.transport.abort()

    await asyncio.gather(*map(one, range(count)))
    return told(statuses)


@FAMILY.attack()
async def http_kept_connections(aim: Aim) -> str:
    """Strangers ask for what anybody may see, and for what does not exist, on 1,000 connections that stay
    open."""
    paths = ("/healthz", "/problems/not_found", "/nothing", "/api/nothing", "/readyz")
    asked = [head(path) for path in paths]
    asked += [head("/api/proposals", method="OPTIONS"), head("/", method="HEAD")]
    return await _kept(aim, 1_000, asked)


@FAMILY.attack()
async def http_new_connections(aim: Aim) -> str:
    """Strangers ask for what does not exist on 1,500 new connections at a time, and leave."""
    return await _kept(aim, 1_500, [head("/nothing", more=["Connection: close"])])


@FAMILY.attack()
async def http_kept_connections_of_an_account(aim: Aim) -> str:
    """An account lists its proposals on 2,500 connections that stay open."""
    return await _kept(aim, 2_500, [head("/api/proposals?limit=1", aim.token)])


@FAMILY.attack()
async def http_kept_connections_with_invented_tokens(aim: Aim) -> str:
    """Strangers invent a token for each of 1,000 connections that stay open, and list proposals on them."""
    return await _kept(aim, 1_000, [head("/api/proposals", f"a.b.{number}") for number in range(1_000)])


@FAMILY.attack()
async def http_several_requests_on_many_connections(aim: Aim) -> str:
    """Strangers send 12 requests at once on 1,000 connections, and 12 more with each answer."""
    return await _kept(aim, 1_000, [head("/nothing") * 12])


@FAMILY.attack()
async def http_probes_on_new_connections(aim: Aim) -> str:
    """Strangers ask for the health on 1,500 new connections at a time, and leave."""
    return await _kept(aim, 1_500, [head("/healthz", more=["Connection: close"])])


async def _many(aim: Aim, count: int, path: str, token: str, calls: int) -> str:
    """Calls on so many connections, as many on each, again when they have ended."""
    until = time.monotonic() + aim.seconds
    async with AsyncExitStack() as stack:
        held = []
        for _ in range(count):
            with suppress(OSError):
                held.append(await stack.enter_async_context(connection(aim.grpc)))
        while time.monotonic() < until:
            for each in held:
                for _ in range(min(AT_ONCE, calls - each.active)):
                    each.call(path, token, message(b""), ends=True)
                await each.drain()
            await asyncio.sleep(0.02)
        made, active = sum(each.calls for each in held), sum(each.active for each in held)
        closed = sum(each.closed_s is not None for each in held)
    return f"{made} calls, {active} open at the end, {closed} of {len(held)} connections closed"


@FAMILY.attack()
async def grpc_forged_tokens_on_many_connections(aim: Aim) -> str:
    """A stranger's calls with forged tokens on 300 connections, 100 on each."""
    return await _many(aim, 300, http2.LIST_PROPOSALS, "x.y.z", 100)


@FAMILY.attack()
async def grpc_calls_of_an_account_on_many_connections(aim: Aim) -> str:
    """An account's lists on 300 connections, 100 on each."""
    return await _many(aim, 300, http2.LIST_PROPOSALS, aim.token, 100)


@FAMILY.attack()
async def grpc_health_checks_on_many_connections(aim: Aim) -> str:
    """A stranger's health checks on 300 connections, 100 on each."""
    return await _many(aim, 300, http2.HEALTH_CHECK, "", 100)


async def _anew(
    aim: Aim,
    count: int,
    path: str,
    token: str,
    calls: int,
    *,
    source: str | None = None,
    stay_s: float = STAY_S,
) -> str:
    """So many connections at a time, each left for another once it is closed, or after `stay_s` seconds.
    source: the address that they come from, by default that of the other users."""
    until, made = time.monotonic() + aim.seconds, Counter[str]()

    async def one() -> None:
        while (left_s := until - time.monotonic()) > 0:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(left_s), connection(aim.grpc, source=source) as each:
                    made["connections"] += 1
                    for _ in range(calls):
                        each.call(path, token, message(b""), ends=True)
                    made["calls"] += calls
                    await each.drain()
                    async with asyncio.timeout(stay_s):
                        await each.closed()

    await asyncio.gather(*(one() for _ in range(count)))
    return told(made)


@FAMILY.attack()
async def grpc_forged_tokens_on_new_connections(aim: Aim) -> str:
    """A stranger's 100 calls with forged tokens on each of 100 connections, and on others when these are
    closed."""
    return await _anew(aim, 100, http2.LIST_PROPOSALS, "x.y.z", 100)


@FAMILY.attack()
async def grpc_calls_of_an_account_on_new_connections(aim: Aim) -> str:
    """An account's 1,000 lists on each of 30 connections, and on others when these are closed."""
    return await _anew(aim, 30, http2.LIST_PROPOSALS, aim.token, 1_000)


@FAMILY.attack()
async def grpc_forged_tokens_from_an_address_of_its_own(aim: Aim) -> str:
    """A stranger's 100 calls with forged tokens on each of 100 connections, likewise, from an address that
    nobody else has."""
    return await _anew(aim, 100, http2.LIST_PROPOSALS, "x.y.z", 100, source=OWN_ADDRESS)


@FAMILY.attack()
async def grpc_calls_of_an_account_from_an_address_of_its_own(aim: Aim) -> str:
    """An account's 1,000 lists on each of 30 connections, likewise, from an address that nobody else has."""
    return await _anew(aim, 30, http2.LIST_PROPOSALS, aim.token, 1_000, source=OWN_ADDRESS)


@FAMILY.attack()
async def grpc_forged_tokens_on_connections_that_are_left(aim: Aim) -> str:
    """A stranger's 100 calls with forged tokens on each of 100 connections, left for others at once."""
    return await _anew(aim, 100, http2.LIST_PROPOSALS, "x.y.z", 100, stay_s=0)


@FAMILY.attack()
async def grpc_forged_links_on_new_connections(aim: Aim) -> str:
    """A stranger's calls with invented share links, one on each of 200 connections, left at once."""
    return await churn(aim, 200, 0.1, lambda number: (http2.GET_PROPOSAL, f"{SHARE_PREFIX}{number:043}"))
