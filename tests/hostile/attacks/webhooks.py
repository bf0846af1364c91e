"""Receivers of webhooks that hold the hub's calls, or make it read."""

from __future__ import annotations

import asyncio
import time
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx

from tests.hostile.attacks.attack import Aim, Family, NotHeld, told
from tests.support.receiver import receiver
from tests.support.servers import answer, tcp_server
from tests.support.tickets import TicketServer
from tests.support.tokens import token

FAMILY = Family("receivers of webhooks")
#: Accounts with receivers that do harm, receivers of each, and runs that they are called about.
ACCOUNTS, RECEIVERS, RUNS = 5, 20, 4
#: Seconds within which another account's receiver is called meanwhile.
MAX_DELAY_S = 10.0


async def _again(writer: StreamWriter, head: bytes, piece: bytes, pause_s: float = 0) -> None:
    """Send a piece without end."""
    writer.write(head)
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause_s)


async def _silent(writer: StreamWriter) -> None:
    await asyncio.Event().wait()


async def _reset(writer: StreamWriter) -> None:
    writer.transport.abort()


async def _redirect(writer: StreamWriter) -> None:
    writer.write(answer(307, b"", location="http://169.254.169.254/latest/"))
    await writer.drain()


_OK = b"HTTP/1.1 200 OK\r\n"
HARM: tuple[Callable[[StreamWriter], Awaitable[None]], ...] = (
    _silent,
    _reset,
    _redirect,
    lambda writer: _again(writer, _OK, b"a: b\r\n", 0.2),
    lambda writer: _again(writer, _OK, b"a: b\r\n" * 1000),
    lambda writer: _again(writer, b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    lambda writer: _again(writer, _OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 5000),
)


async def _harm(aim: Aim, number: int, urls: list[str], counts: Counter[str]) -> None:
    """An account with receivers that do harm, which are called about its runs."""
    async with aim.client(token(f"eve{number}@example.com")) as http:
        for index in range(RECEIVERS):
            url = f"{urls[(number + index) % len(urls)]}/{index}"
            body = {"target_url": url, "event_types": ["run.finished"]}
            counts[f"{(await http.post('/api/webhooks', json=body)).status_code} for a webhook"] += 1
        for _ in range(RUNS):
            await _run(http)


async def _run(http: httpx.AsyncClient) -> None:
    """A run that ends at once."""
    workflow = (await http.post("/api/workflows", json={"name": "w"})).raise_for_status().json()
    job = {"user_prompt": "go on [[replay:short_run]]"}
    await http.post(f"/api/workflows/{workflow['id']}/refinements", json=job)


_SETTINGS = {
    "IDEO_WEBHOOK_ALLOWED_HOSTS": "127.0.0.0/8",
    "IDEO_MAX_CREATES_PER_MINUTE": "0",
    "IDEO_MAX_ACTIVE_RUNS": "0",
}


@FAMILY.attack(settings=_SETTINGS)
async def webhooks_that_hold(aim: Aim) -> str:
    """Five accounts have 20 receivers each, which never answer, reset, redirect to an internal address, or
    send headers, interim answers and chunks without end; another account's must be called meanwhile."""
    counts = Counter[str]()
    async with AsyncExitStack() as stack:
        urls = []
        for each in HARM:

            async def serve(
                reader: StreamReader, writer: StreamWriter, each: Callable[..., Awaitable[None]] = each
            ) -> None:
                await reader.readuntil(b"\r\n\r\n")
                counts["calls"] += 1
                await each(writer)

            urls.append(f"http://127.0.0.1:{await stack.enter_async_context(tcp_server(serve))}")
        return await _called_meanwhile(aim, urls, counts)


@FAMILY.attack(settings=_SETTINGS, tls=True)
async def webhooks_of_session_tickets(aim: Aim) -> str:
    """Five accounts have 20 receivers each, which answer with session tickets of TLS without end; another
    account's must be called meanwhile."""
    certificate, key = map(Path, aim.tls_files)
    server = TicketServer(certificate, key)
    async with tcp_server(server.serve) as port:
        said = await _called_meanwhile(aim, [f"https://127.0.0.1:{port}"], Counter())
    return f"{server.requests} calls; {said}"


async def _called_meanwhile(aim: Aim, urls: list[str], counts: Counter[str]) -> str:
    """Another account's receiver is called while those of five accounts do harm. Raises NotHeld."""
    delays = []
    async with AsyncExitStack() as stack:
        good = await stack.enter_async_context(receiver())
        http = await stack.enter_async_context(aim.client())
        body = {"target_url": good.url, "event_types": ["run.finished"]}
        (await http.post("/api/webhooks", json=body)).raise_for_status()
        await asyncio.gather(*(_harm(aim, number, urls, counts) for number in range(ACCOUNTS)))
        until = time.monotonic() + aim.seconds
        while time.monotonic() < until:
            calls, began = len(good.calls), time.monotonic()
            await _run(http)
            while len(good.calls) == calls and time.monotonic() < began + 2 * MAX_DELAY_S:
                await asyncio.sleep(0.02)
            delays.append(time.monotonic() - began)
    if max(delays) > MAX_DELAY_S:
        raise NotHeld(f"another account's receiver was called after {max(delays):.1f} s; {told(counts)}")
    return f"{told(counts)}; another account's receiver was called within {max(delays):.1f} s"
