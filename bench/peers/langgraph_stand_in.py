"""What a page asks of a LangGraph server, answered from memory: threads, and the streams of runs.

A stream has the content of one of the hub's runs: a `messages` event for each token, and a `values` event
with all messages for each state. Nothing is stored, so it costs less than the real server.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from ide_orchestrator.v1 import event_pb2

_TYPES = {
    event_pb2.MESSAGE_ROLE_HUMAN: "human",
    event_pb2.MESSAGE_ROLE_TOOL: "tool",
    event_pb2.MESSAGE_ROLE_SYSTEM: "system",
}
_RECORDING = re.compile(r"\[\[replay:(\w+)")


def langgraph_stream(events: Iterable[event_pb2.Event]) -> tuple[list[bytes], dict[str, Any]]:
    """The stream of a run, and its last state."""
    run, messages = str(uuid.uuid4()), list[dict[str, Any]]()
    sent = [_event("metadata", {"run_id": run, "attempt": 1})]
    for event in events:
        if event.HasField("token"):
            sent.append(_event("messages", [_chunk(event.token), {"langgraph_node": event.token.node}]))
        elif event.HasField("state_update"):
            update = event.state_update
            for changed in update.messages:
                messages[changed.index : changed.index + 1] = [_message(changed.message)]
            del messages[update.message_count :]
            sent.append(_event("values", {"messages": messages}))
    return sent, {"messages": messages}


def _event(name: str, data: object) -> bytes:
    return f"event: {name}\r\ndata: {json.dumps(data)}\r\n\r\n".encode()


def _chunk(token: event_pb2.Token) -> dict[str, Any]:
    pieces = [
        {"index": piece.index, "id": piece.id or None, "name": piece.name or None, "args": piece.arguments}
        for piece in token.tool_calls
    ]
    kind = "tool" if token.role == event_pb2.MESSAGE_ROLE_TOOL else "AIMessageChunk"
    chunk = {"id": token.message_id, "type": kind, "content": token.text, "tool_call_chunks": pieces}
    return chunk | ({"tool_call_id": token.tool_call_id} if kind == "tool" else {})


def _message(message: event_pb2.AgentMessage) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": message.id,
        "type": _TYPES.get(message.role, "ai"),
        "content": message.text,
        "name": message.name or None,
    }
    if message.tool_call_id:
        found["tool_call_id"] = message.tool_call_id
    if found["type"] == "ai":
        found["tool_calls"] = [
            {
                "id": call.id,
                "name": call.name,
                "args": json.loads(call.arguments or "{}"),
                "type": "tool_call",
            }
            for call in message.tool_calls
        ]
    return found


def stand_in(
    runs: Mapping[str, tuple[Sequence[bytes], Mapping[str, Any]]], past: Mapping[str, str], page: ASGIApp
) -> ASGIApp:
    """The server, and the page at its other addresses.

    runs: streams and last states by the name of the recording that a prompt chooses. past: recordings by the
    id of a thread that has ended.
    """

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await page(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        thread = re.fullmatch(r"/threads/([0-9a-f-]{36})(/.*)?", path)
        state = runs[past[thread[1]]][1] if thread and thread[1] in past else None
        if path == "/info":
            await _json(send, {"version": "0"})
        elif path == "/threads/search":
            await _json(send, [])
        elif path == "/threads" and method == "POST":
            await _json(send, _thread(str(uuid.uuid4()), None))
        elif thread and thread[2] == "/history":
            await _json(send, [] if state is None else [_checkpoint(thread[1], state)])
        elif thread and thread[2] == "/state":
            await _json(send, _checkpoint(thread[1], state or {}))
        elif thread and thread[2] == "/runs/stream":
            await _stream(receive, send, runs, thread[1])
        elif thread:
            await _json(send, _thread(thread[1], state))
        else:
            await page(scope, receive, send)

    return handle


async def _stream(
    receive: Receive, send: Send, runs: Mapping[str, tuple[Sequence[bytes], object]], thread: str
) -> None:
    body, more = b"", True
    while more:
        received: Any = await receive()
        body, more = body + received.get("body", b""), received.get("more_body", False)
    chosen = _RECORDING.search(body.decode())
    headers = {
        "content-type": "text/event-stream; charset=utf-8",
        "content-location": f"/threads/{thread}/runs/{uuid.uuid4()}",
    }
    await send(_head(headers))
    for event in runs[chosen[1] if chosen else next(iter(runs))][0]:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _head(headers: Mapping[str, str]) -> Any:
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": 200, "headers": encoded}


async def _json(send: Send, value: object) -> None:
    body = json.dumps(value).encode()
    await send(_head({"content-type": "application/json", "content-length": str(len(body))}))
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _thread(thread: str, state: Mapping[str, Any] | None) -> dict[str, Any]:
    time = "2026-01-01T00:00:00+00:00"
    return {
        "thread_id": thread,
        "created_at": time,
        "updated_at": time,
        "metadata": {},
        "status": "idle",
        "values": state,
        "interrupts": {},
    }


def _checkpoint(thread: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "values": state,
        "next": [],
        "tasks": [],
        "metadata": {"step": 1},
        "created_at": "2026-01-01T00:00:00+00:00",
        "checkpoint": {"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": str(uuid.uuid4())},
        "parent_checkpoint": None,
    }
