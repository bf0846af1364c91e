"""The peer: a plain proxy of the runtime, written with the hub's libraries.

A job is passed on, and a thread's frames are: receive a text, send the text. It knows no user, keeps
nothing, has no second reader and no cursor. It is what a hub costs at the least.
`python -m bench.proxy RUNTIME` serves on a free port and prints its address.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import httpx
import uvicorn
import uvloop
from litestar import Litestar, Request, Response, WebSocket, post, websocket
from litestar.params import FromPath
from websockets.asyncio.client import connect


def create_proxy(runtime: str, http: httpx.AsyncClient) -> Litestar:
    """The ASGI app. `runtime`: the address that ends in `/deepagents-runtime`."""

    @post("/invoke")
    async def invoke(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Pass a job on."""
        answer = await http.post(
            f"{runtime}/invoke",
            content=await request.body(),
            headers={"content-type": "application/json"},
        )
        return Response(answer.content, status_code=answer.status_code, media_type="application/json")

    @websocket("/stream/{thread_id:str}")
    async def stream(socket: WebSocket[Any, Any, Any], thread_id: FromPath[str]) -> None:
        """Pass a thread's frames on."""
        await socket.accept()
        address = f"ws{runtime.removeprefix('http')}/stream/{thread_id}"
        async with connect(address, compression=None, max_size=16 << 20, proxy=None) as frames:
            async for frame in frames:
                await socket.send_data(frame)
        await socket.close()

    return Litestar([invoke, stream], openapi_config=None)


async def serve(runtime: str) -> None:
    """Serve until the process is asked to end."""
    listener = socket.create_server(("127.0.0.1", 0))
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        config = uvicorn.Config(
            create_proxy(runtime, http),
            lifespan="off",
            access_log=False,
            log_config=None,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
        )
        print(f"proxy http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1]))
