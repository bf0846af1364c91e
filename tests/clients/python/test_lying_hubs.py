"""What a server that is not a hub answers is an error, within bounds of memory and of time."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.server import ServerConnection

from ide_orchestrator.client import Fault, Hub, HubError, Unavailable, following, responses, streams
from ide_orchestrator.v1.event_pb2 import Event
from ide_orchestrator.v1.refinement_pb2 import EventBatch, WatchRefinementResponse
from ide_orchestrator.v1.workflow_pb2 import ListWorkflowsRequest, ListWorkflowsResponse
from ide_orchestrator.v1.workflow_pb2_grpc import (
    WorkflowServiceServicer,
    add_WorkflowServiceServicer_to_server,
)
from tests.clients.python.hubs import grpc_client_of
from tests.support.lying import lying
from tests.support.servers import answer, http_server, stream_server

ABSENT = "00000000-0000-4000-8000-000000000000"
MIB = 1 << 20


@pytest.fixture
def memory() -> Iterator[None]:
    """What the client allocates is counted: fails when it is more than 64 MiB at a time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()


async def _listed(hub: Hub) -> list[Any]:
    return [each async for each in hub.items("/api/proposals")]


@pytest.mark.parametrize("name", ["same", "empty"])
async def test_a_list_that_does_not_end_is_a_fault(name: str) -> None:
    async with http_server(lying()) as url, Hub(f"{url}/{name}", "token", trust_env=False) as hub:
        with pytest.raises(Fault, match="its list does not end"):
            await asyncio.wait_for(_listed(hub), 20)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nan", "without JSON"),
        ("deep", "without JSON"),
        ("digits", "without JSON"),
        ("dense", "without JSON"),
        ("shape", "no list"),
        ("cursor", "a cursor that is none"),
        ("bomb", "compressed"),
    ],
)
async def test_an_answer_that_no_hub_sends_is_a_fault(memory: None, name: str, reason: str) -> None:
    async with http_server(lying()) as url, Hub(f"{url}/{name}", "token", trust_env=False) as hub:
        with pytest.raises(Fault, match=reason):
            await asyncio.wait_for(_listed(hub), 20)


async def test_an_answer_with_millions_of_lines_is_read() -> None:
    async with http_server(lying()) as url, Hub(f"{url}/lines", "token", trust_env=False) as hub:
        assert len(await _listed(hub)) == (2 << 20) + 1


async def test_an_answer_that_is_shorter_than_it_says_is_an_error() -> None:
    async with http_server(lying()) as url, Hub(f"{url}/short", "token", trust_env=False) as hub:
        with pytest.raises(Unavailable):
            await asyncio.wait_for(_listed(hub), 20)


@pytest.mark.parametrize("name", ["head", "interim", "body"])
@pytest.mark.parametrize("transport", ["call", "download", "sse"])
async def test_an_answer_that_comes_byte_by_byte_is_given_up(
    monkeypatch: pytest.MonkeyPatch, name: str, transport: str
) -> None:
    monkeypatch.setattr(responses, "HEAD_S", 0.2)
    async with (
        http_server(lying()) as url,
        Hub(f"{url}/{name}", "token", trust_env=False, silence_s=0.2) as hub,
    ):

        async def call() -> None:
            if transport == "call":
                await hub.workflow(ABSENT)
            elif transport == "download":
                _ = [piece async for piece in hub.pieces("/archive")]
            else:
                async for _ in hub.watch(ABSENT, transport="sse", on_retry=_stop):
                    pass

        with pytest.raises(HubError):
            await asyncio.wait_for(call(), 20)


def _stop(error: HubError, pause_s: float) -> None:
    raise error


async def test_a_list_over_grpc_that_does_not_end_is_a_fault() -> None:
    class Lists(WorkflowServiceServicer):
        async def ListWorkflows(self, request: Any, context: Any) -> ListWorkflowsResponse:
            return ListWorkflowsResponse(next_page_token="again")

    async with grpc_client_of(lambda server: add_WorkflowServiceServicer_to_server(Lists(), server)) as hub:
        with pytest.raises(Fault, match="its list does not end"):
            async for _ in hub.items(hub.workflows.ListWorkflows, ListWorkflowsRequest(), "workflows"):
                pass


async def test_cookies_are_not_kept() -> None:
    heads = []
    lie = lying()

    async def noting(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        heads.append(head.lower())
        return await lie(head, body, writer)

    async with http_server(noting) as url, Hub(f"{url}/cookies", "token", trust_env=False) as hub:
        await _listed(hub)
        await _listed(hub)
    assert len(heads) == 2
    assert not any(b"\r\ncookie:" in head for head in heads)


async def test_a_stream_waits_no_longer_than_minutes_for_a_hub_that_asks_for_years() -> None:
    async with http_server(lying()) as url, Hub(f"{url}/later", "token", trust_env=False) as hub:
        with pytest.raises(Unavailable) as failed:
            async for _ in hub.watch(ABSENT, transport="sse", on_retry=_stop):
                pass
    assert failed.value.retry_after_s == responses.MAX_RETRY_AFTER_S


async def test_a_stream_that_repeats_its_events_without_an_end_is_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "MAX_REPEATS", 10)
    batch = WatchRefinementResponse(batch=EventBatch(events=[Event(seq=1)])).SerializeToString()

    async def repeat(socket: ServerConnection) -> None:
        while True:
            await socket.send(batch)
            await asyncio.sleep(0)

    async with stream_server(repeat, subprotocol="ideo.v1.proto") as url, Hub(url, "token") as hub:
        events = hub.follow(ABSENT)
        assert (await anext(events)).seq == 1
        with pytest.raises(Fault, match="again and again"):
            await asyncio.wait_for(anext(events), 20)


async def test_a_message_in_fragments_without_an_end_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_FRAGMENTS", 1_000)

    async def fragments() -> AsyncIterator[bytes]:
        while True:
            yield b""
            await asyncio.sleep(0)

    async def send(socket: ServerConnection) -> None:
        await socket.send(fragments())

    async with stream_server(send, subprotocol="ideo.v1.proto") as url, Hub(url, "token") as hub:
        with pytest.raises(Fault, match="too many fragments"):
            await asyncio.wait_for(anext(hub.follow(ABSENT)), 20)


async def test_the_text_of_a_large_answer_is_not_taken_for_values() -> None:
    text = b'{"a": "' + b'[{,\\\\\\"' * (2 * MIB) + b'"}'

    async def say(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        return answer(200, text)

    async with http_server(say) as url, Hub(url, "token", trust_env=False) as hub:
        found = await hub.call("GET", "/api/x")
    assert len(found["a"]) == 5 * 2 * MIB
    assert httpx.Response(200, content=text).json() == found
