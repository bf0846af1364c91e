"""Local servers for tests: plain TCP, HTTP answers byte by byte, WebSockets, and ASGI apps."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import chain, cycle, islice
from pathlib import Path
from ssl import SSLContext
from typing import Any

import uvicorn
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from server.http.server import HubServer

#: A port of 127.0.0.1, or the path of a Unix socket.
Place = int | Path
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
#: Gets a request's head and body, and the way to the client; what it returns is sent, then closed.
Answerer = Callable[[bytes, bytes, asyncio.StreamWriter], Awaitable[bytes]]
#: Bytes of an answer that are sent at a time.
_PIECE = 64 << 10


#: Below the ports that the kernel gives to outgoing connections, so that none takes one while its server
#: is away. The four workers that run tests side by side (gw0, gw1, ...), whose parent is the same, begin as
#: far from each other as can be, so that none is given the port of another's server that is away.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_FIRST = (_WORKER * 3000 + os.getppid() % 120 * 100) % 12_000
_PORTS = cycle(chain(range(20_000 + _FIRST, 32_000), range(20_000, 20_000 + _FIRST)))


def free_port() -> int:
    """A port that nothing listens on, for a server that comes and goes."""
    for port in islice(_PORTS, 12_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port is left")


@asynccontextmanager
async def tcp_server(
    handler: Handler, place: Place = 0, *, ssl: SSLContext | None = None
) -> AsyncIterator[Place]:
    """Serve each connection with `handler`, at a free port by default, with TLS if there is a context. A lost
    connection is not an error, and connections that are open at the end are cut."""
    tasks: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    if isinstance(place, Path):
        server = await asyncio.start_unix_server(connected, str(place), backlog=512)
    else:
        server = await asyncio.start_server(connected, "127.0.0.1", place, backlog=512, ssl=ssl)
        place = server.sockets[0].getsockname()[1]
    try:
        yield place
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answer(status: int, body: bytes = b"{}", **headers: str) -> bytes:
    """An HTTP answer; `_` in a header's name stands for `-`."""
    return _head(status, len(body), headers) + body


def _head(status: int, size_bytes: int, headers: Mapping[str, str]) -> bytes:
    fields = {"content-length": str(size_bytes), "content-type": "application/json", "connection": "close"}
    fields |= {name.lower().replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode()


async def send_answer(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    """Send an HTTP answer a piece at a time, as its reader takes it: a large one holds nobody up."""
    writer.write(_head(status, len(body), {}))
    view = memoryview(body)
    for at in range(0, len(body), _PIECE):
        writer.write(view[at : at + _PIECE])
        await writer.drain()


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head and the body of a request."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [
        line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
    ]
    return head, await reader.readexactly(int(lengths[0]) if lengths else 0)


@asynccontextmanager
async def http_server(answerer: Answerer, port: Place = 0) -> AsyncIterator[str]:
    """An HTTP server; its address."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await answerer(*await read_request(reader), writer))
        await writer.drain()

    async with tcp_server(handle, port) as place:
        yield f"http://127.0.0.1:{place}"


@asynccontextmanager
async def redirecting_server(status: int) -> AsyncIterator[tuple[str, list[bytes]]]:
    """The address of a server that redirects each request and each upgrade elsewhere, with a body that would
    pass for a hub's; and the heads of the requests that arrive there."""
    reached: list[bytes] = []

    async def elsewhere(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        reached.append(head)
        return answer(200)

    async with http_server(elsewhere) as other:

        async def redirecting(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
            upgrade = b"upgrade: websocket" in head.lower()
            target = other.replace("http", "ws", 1) if upgrade else other
            return answer(status, b'{"id": "x"}', location=f"{target}/stolen")

        async with http_server(redirecting) as url:
            yield url, reached


@asynccontextmanager
async def stream_server(
    script: Callable[[ServerConnection], Awaitable[None]],
    *,
    refuse: Callable[[ServerConnection, Request], Response | None] | None = None,
    subprotocol: str | None = None,
) -> AsyncIterator[str]:
    """A WebSocket server on a free port; its http address. `refuse` may answer the handshake."""
    async with serve(
        script,
        "127.0.0.1",
        0,
        process_request=refuse,
        subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
        max_size=None,
        compression=None,
        close_timeout=0.2,
    ) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@asynccontextmanager
async def uvicorn_server(
    config: uvicorn.Config, listener: socket.socket | None = None
) -> AsyncIterator[tuple[HubServer, str]]:
    """A uvicorn server on a listening socket, by default on a free port; and its http address."""
    listener = listener or socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = HubServer(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.005)
        yield server, f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.stop()
        await serving


@asynccontextmanager
async def asgi_server(app: Any) -> AsyncIterator[str]:
    """An ASGI app on a free port; its http address."""
    config = uvicorn.Config(app, log_level="warning", ws="websockets-sansio")
    async with uvicorn_server(config) as (_, address):
        yield address
