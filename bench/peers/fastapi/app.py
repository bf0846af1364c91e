"""A relay with FastAPI and websockets, as most would write it; uvicorn serves it.

`python -m bench.peers.fastapi.app RUNTIME` serves on a free port and prints its address. /stream/{thread}
has a connection to the runtime for each client; /fan/{thread} has one for each thread, and sends to one
client after another.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from typing import Any

import uvicorn
import websockets
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()
runtime = "ws" + sys.argv[1].removeprefix("http")
rooms: dict[str, list[WebSocket]] = {}


@app.websocket("/stream/{thread_id}")
async def stream(client: WebSocket, thread_id: str) -> None:
    """Pass a thread's events on, and keep its files."""
    await client.accept()
    files: dict[str, Any] = {}
    async with websockets.connect(f"{runtime}/stream/{thread_id}", max_size=None) as upstream:
        async for text in upstream:
            event = json.loads(text)
            if event["event_type"] == "on_state_update":
                files = event["data"].get("files", files)
            await client.send_json(event)
            if event["event_type"] == "end":
                break
    await client.close()


@app.websocket("/fan/{thread_id}")
async def fan(client: WebSocket, thread_id: str) -> None:
    """Join a thread."""
    await client.accept()
    room = rooms.get(thread_id)
    if room is None:
        room = rooms[thread_id] = []
        client.state.broadcast = asyncio.create_task(broadcast(thread_id, room))
    room.append(client)
    try:
        while True:
            await client.receive_text()
    except WebSocketDisconnect:
        if client in room:
            room.remove(client)


async def broadcast(thread_id: str, room: list[WebSocket]) -> None:
    """Send a thread's events to all who joined."""
    async with websockets.connect(f"{runtime}/stream/{thread_id}", max_size=None) as upstream:
        async for text in upstream:
            event = json.loads(text)
            for client in list(room):
                await client.send_json(event)
    del rooms[thread_id]
    for client in list(room):
        await client.close()


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(f"peer http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="error")).run(sockets=[listener])
