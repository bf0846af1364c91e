"""Local servers that do as a script says: what a runtime may do, good and bad."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

#: Gets a request's head and body, and the way to the client; what it returns is sent, then closed.
Answerer = Callable[[bytes, bytes, asyncio.StreamWriter], Awaitable[bytes]]


def answer(status: int, body: bytes = b"{}", **headers: str) -> bytes:
    """An HTTP answer."""
    fields = {"content-length": str(len(body)), "content-type": "application/json", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode() + body


@asynccontextmanager
async def http_server(answerer: Answerer) -> AsyncIterator[str]:
    """An HTTP server on a free port; its address."""
    tasks: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ),
                0,
            )
            writer.write(await answerer(head, await reader.readexactly(length), writer))
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def stream_server(
    script: Callable[[ServerConnection], Awaitable[None]],
    *,
    refuse: Callable[[ServerConnection, Request], Response | None] | None = None,
) -> AsyncIterator[str]:
    """A WebSocket server on a free port; its http address. `refuse` may answer the handshake."""
    async with serve(
        script, "127.0.0.1", 0, process_request=refuse, max_size=None, compression=None, close_timeout=0.2
    ) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@asynccontextmanager
async def asgi_server(app: Any) -> AsyncIterator[str]:
    """An ASGI app behind uvicorn on a free port; its http address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="websockets-sansio")
    server = uvicorn.Server(config)
    running = asyncio.ensure_future(server.serve())
    try:
        while not server.started:
            if running.done():
                running.result()
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running
