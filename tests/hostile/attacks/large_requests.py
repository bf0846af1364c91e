"""Requests as large as they may be: many at once, of which the end does not come, or that streams keep."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from uuid import uuid4

from server.wire import messages as m
from tests.hostile.attacks import http2
from tests.hostile.attacks.attack import Aim, Family, ask_on, told
from tests.hostile.attacks.http2 import connection, message
from tests.hostile.attacks.sockets import BLOCK, head, place
from tests.support.tokens import token

FAMILY = Family("large requests")
MIB = 1 << 20
#: Requests whose end does not come, and streams: of an account, and of strangers on a connection.
HALF, STREAMS, STRANGERS = 400, 200, 20
#: A field that no message of the contract has (number 2000, a string), with 3.9 MiB of content.
UNKNOWN_BYTES = 3_900_000
#: Send buffer of a connection whose request is not read, in bytes; Linux takes twice as much.
SEND_BUFFER = 1 << 16
_SECRET = b"\x82\x7d"


def _unknown() -> bytes:
    size, length = UNKNOWN_BYTES, bytearray()
    while size >= 128:
        length.append(size % 128 + 128)
        size //= 128
    return _SECRET + bytes([*length, size]) + bytes(UNKNOWN_BYTES)


@FAMILY.attack()
async def requests_without_an_end(aim: Aim) -> str:
    """An account's 400 workflows of 2.5 MiB, and 400 calls over Connect of 4 MiB, of which the last byte
    never comes."""
    requests = []
    connect = f"{http2.SERVICE}WorkflowService/CreateWorkflow"
    for size, path in ((2_600_000, "/api/workflows"), (4 * MIB, connect)):
        lines = [f"Content-Length: {size}", "Content-Type: application/proto"]
        requests.append(head(path, aim.token, method="POST", more=lines) + bytes(size - 1))
    return await _held(aim, [request for request in requests for _ in range(HALF)])


@FAMILY.attack()
async def requests_of_small_halves(aim: Aim) -> str:
    """An account's 2,000 requests of 60 KB, of which the last byte never comes."""
    lines = ["Content-Length: 60000"]
    request = head("/api/workflows", aim.token, method="POST", more=lines) + bytes(59_999)
    return await _held(aim, [request] * 2_000)


@FAMILY.attack()
async def requests_of_large_conversations(aim: Aim) -> str:
    """200 AG-UI clients that send 2.5 MiB of messages each, and follow a run."""
    messages = [{"role": "user", "id": str(number), "content": "y" * 200} for number in range(9_000)]
    body = json.dumps({"threadId": aim.thread_id, "runId": "r", "messages": messages}).encode()
    path, lines = f"/api/workflows/{aim.workflow_id}/agui", ["Content-Type: application/json"]
    request = head(path, aim.token, method="POST", more=[*lines, f"Content-Length: {len(body)}"]) + body
    return await _held(aim, [request] * STREAMS)


async def _held(aim: Aim, requests: Sequence[bytes]) -> str:
    """Send requests, each on its connection, and read what comes. The statuses."""
    answers: Counter[str] = Counter()

    loop = asyncio.get_running_loop()

    async def one(request: bytes) -> None:
        # Without a buffer: the attacker shall not need more memory than the hub.
        with socket.socket() as made, suppress(OSError):
            made.setblocking(False)
            # Nor does what its kernel holds take this machine's memory: elsewhere it has another one.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            await loop.sock_connect(made, place(aim.http))
            sending = asyncio.ensure_future(loop.sock_sendall(made, request))
            try:
                first = await loop.sock_recv(made, BLOCK)
                answers[first[9:12].decode("latin-1")] += 1
                while await loop.sock_recv(made, BLOCK):
                    pass
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    tasks = [asyncio.create_task(one(request)) for request in requests]
    await asyncio.sleep(aim.seconds)
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return f"{len(tasks)} requests: {told(answers) or 'none answered'}"


@FAMILY.attack()
async def requests_at_once(aim: Aim) -> str:
    """An account sends AG-UI requests of 2.4 MiB of messages on 50 connections, to come back to a run that it
    never started."""
    messages = [{"role": "user", "id": str(number), "content": "y" * 200} for number in range(9_000)]
    path = f"/api/workflows/{aim.workflow_id}/agui"
    last = {"role": "user", "content": "z"}
    asked = {"threadId": str(uuid4()), "runId": "r", "messages": [*messages, last]}
    body, headers = json.dumps(asked).encode(), {"Last-Event-ID": "5"}
    async with aim.client() as http:
        return told(await ask_on(50, aim.seconds, lambda: http.post(path, content=body, headers=headers)))


async def _watches(aim: Aim, path: str, token: str, request: bytes, connections: int, streams: int) -> str:
    data = message(request)
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(connection(aim.grpc)) for _ in range(connections)]
        await asyncio.sleep(0.2)
        sending = [
            asyncio.ensure_future(_whole(each, path, token, data)) for each in held for _ in range(streams)
        ]
        await asyncio.sleep(aim.seconds)
        sent = sum(each.done() for each in sending)
        for each in sending:
            each.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        return f"{sent} of {len(sending)} sent, {sum(len(each.ended) for each in held)} ended"


async def _whole(made: http2.Connection, path: str, token: str, data: bytes) -> None:
    stream = made.call(path, token)
    await made.send(stream, data)
    made.write(http2.frame(http2.DATA, http2.END_STREAM, stream))


@FAMILY.attack()
async def requests_of_large_health_watches(aim: Aim) -> str:
    """A stranger's 200 health watches with 4 MiB that mean nothing."""
    return await _watches(aim, http2.HEALTH_WATCH, "", _unknown(), 10, STRANGERS)


@FAMILY.attack()
async def requests_of_large_watches(aim: Aim) -> str:
    """A share link's 200 watches with 4 MiB that mean nothing."""
    request = m.WatchRefinementRequest(thread_id=aim.thread_id).SerializeToString() + _unknown()
    return await _watches(aim, http2.WATCH, aim.link, request, 10, STRANGERS)


@FAMILY.attack()
async def requests_for_large_agents(aim: Aim) -> str:
    """Three accounts start 50 refinements each, which go on, of workflows with a definition of 64,000
    lists."""
    definition = b"[" + b",".join([b"[]"] * 64_000) + b"]"
    workflow = b'{"name": "w", "agent_definition": {"x": ' + definition + b"}}"
    job = {"user_prompt": "go on [[replay:short_run silent=60]]"}

    async def one(credential: str) -> str:
        async with aim.client(credential) as http:
            made = (await http.post("/api/workflows", content=workflow)).raise_for_status().json()
            path = f"/api/workflows/{made['id']}/refinements"
            return told(await ask_on(10, aim.seconds, lambda: http.post(path, json=job)))

    accounts = (aim.token, token("mate@example.com"), token("other-mate@example.com"))
    return "; ".join(await asyncio.gather(*map(one, accounts)))
