"""Large requests: what they have in memory until they are answered is bounded, and streams keep nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from litestar.types import Empty

from server.domain.fair_budget import REQUEST_COPIES
from server.grpc.interceptors import parse_request
from server.wire import messages as m
from tests.support.hand_clock import until
from tests.support.http_interface import http_interface
from tests.support.hub import RunningHub, a_workflow, running_hub, start
from tests.support.tokens import bearer

#: A body of 1 MiB, as which a quarter of the budget counts.
LARGE = {"name": "w", "files": {"/a.md": "x" * (1 << 20)}}
#: A field that no message of the contract has, with 100,000 bytes.
UNKNOWN = b"\x82\x7d\xa0\x8d\x06" + bytes(100_000)


@pytest.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database, heartbeat_s=0.1) as running:
        yield running


def in_use(hub: RunningHub) -> int:
    return hub.core.incoming.used_bytes


@asynccontextmanager
async def opened(http: str, request: bytes) -> AsyncIterator[tuple[Any, Any]]:
    """A connection on which these bytes were sent."""
    host, _, port = http.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        yield reader, writer
    finally:
        writer.transport.abort()


def post(hub: RunningHub, path: str, body: bytes, *, sent: int | None = None, who: str = "ann") -> bytes:
    """A request with the first `sent` bytes of its body."""
    token = hub.token(f"{who}@example.com")
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: h",
        f"Authorization: Bearer {token}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body[:sent]


async def test_requests_whose_end_does_not_come_have_bounded_memory_and_others_are_read(
    hub: RunningHub,
) -> None:
    body = json.dumps(LARGE).encode()
    half = post(hub, "/api/workflows", body, sent=len(body) - 1)
    most = hub.core.incoming.counted(len(body) * REQUEST_COPIES)
    async with opened(hub.http, half), opened(hub.http, half), opened(hub.http, half):
        await until(lambda: in_use(hub) == 2 * most)
        async with httpx.AsyncClient(base_url=hub.http, headers=bearer(hub.token("bob@example.com"))) as bob:
            answer = await bob.post("/api/workflows", content=body)
            assert answer.status_code == 201, answer.text
        assert in_use(hub) == 2 * most
    await until(lambda: in_use(hub) == 0)


async def test_a_small_body_needs_room_only_while_its_end_has_yet_to_come(hub: RunningHub) -> None:
    body = b'{"name": "w"}'
    async with opened(hub.http, post(hub, "/api/workflows", body, sent=5)) as (reader, writer):
        await until(lambda: in_use(hub) == len(body) * REQUEST_COPIES)
        writer.write(body[5:])
        assert (await reader.read(1 << 16)).startswith(b"HTTP/1.1 201")
        await until(lambda: in_use(hub) == 0)


async def test_a_large_body_has_room_until_it_is_answered_or_refused(hub: RunningHub) -> None:
    async with httpx.AsyncClient(base_url=hub.http, headers=bearer(hub.token())) as http:
        for given, status in ((LARGE, 201), (LARGE | {"wrong": 1}, 400)):
            assert (await http.post("/api/workflows", json=given)).status_code == status
            await until(lambda: in_use(hub) == 0)


async def test_a_stream_keeps_nothing_of_the_request_that_began_it(hub: RunningHub) -> None:
    async with hub.client() as client:
        workflow = await a_workflow(client)
        run = await start(client, "[[replay:short_run silent=600]]", workflow)
    messages = [{"id": str(number), "role": "user", "content": "x" * 100} for number in range(5_000)]
    asked = {"threadId": run["thread_id"], "runId": "r", "messages": messages}
    async with http_interface(hub.core) as interface:
        request = post(hub, f"/api/workflows/{workflow}/agui", json.dumps(asked).encode())
        async with opened(interface.http, request) as (reader, _):
            assert (await reader.read(1 << 16)).startswith(b"HTTP/1.1 200")
            await until(lambda: in_use(hub) == 0)
            [connection] = interface.connections
            state = connection.cycle.scope["state"]["_ls_connection_state"]
            assert (state.body, state.json, len(connection.cycle.body)) == (Empty, Empty, 0)


def test_a_message_keeps_nothing_that_the_contract_does_not_have() -> None:
    known = m.WatchRefinementRequest(thread_id="t", after_seq=3)
    found = parse_request(m.WatchRefinementRequest.FromString, known.SerializeToString() + UNKNOWN)
    assert found == known
    assert found.ByteSize() == known.ByteSize()
