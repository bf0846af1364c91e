"""An answer without an end is not one of a hub: it is a fault, and neither kept nor waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from ide_orchestrator.client import Fault, Hub, Refused, Unavailable, responses, streams
from ide_orchestrator.conformance import Target, check, target
from ide_orchestrator.conformance.connect_channel import connect_channel
from ide_orchestrator.v1.event_pb2 import Event
from ide_orchestrator.v1.info_pb2 import GetServerInfoRequest
from ide_orchestrator.v1.info_pb2_grpc import InfoServiceStub
from ide_orchestrator.v1.refinement_pb2 import EventBatch, ReadEventResponse, WatchRefinementResponse
from ide_orchestrator.v1.refinement_pb2_grpc import (
    RefinementServiceServicer,
    add_RefinementServiceServicer_to_server,
)
from tests.clients.python.hubs import grpc_client_of
from tests.support.endless import endless, endless_messages
from tests.support.hand_clock import PATIENCE_S
from tests.support.servers import http_server, stream_server

ABSENT = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "MAX_RESPONSE_BYTES", 1 << 20)
    monkeypatch.setattr(streams, "MAX_MESSAGE_BYTES", 1 << 20)
    monkeypatch.setattr(target, "MAX_RESPONSE_BYTES", 1 << 20)


CALLS: dict[str, Callable[[Hub], Awaitable[object]]] = {
    "call": lambda hub: hub.workflow(ABSENT),
    "write": lambda hub: hub.create_workflow("demo"),
    "read": lambda hub: hub.read_file(ABSENT, "0" * 64),
}


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("name", CALLS)
async def test_an_answer_without_an_end_is_a_fault(name: str, status: int) -> None:
    async with http_server(endless(status)) as url, Hub(url, "token", trust_env=False) as hub:
        with pytest.raises(Fault, match="does not end"):
            await asyncio.wait_for(CALLS[name](hub), PATIENCE_S)


async def test_a_refusal_of_a_stream_or_of_a_download_without_an_end_is_a_fault() -> None:
    async with http_server(endless(403)) as url, Hub(url, "token", trust_env=False) as hub:
        with pytest.raises(Fault, match="does not end"):
            async for _ in hub.follow(ABSENT, transport="sse"):
                pass
        with pytest.raises(Fault, match="does not end"):
            async for _ in hub.pieces("/x"):
                pass


class Endless(RefinementServiceServicer):
    """Sends a part of an event, whose rest has no end."""

    async def WatchRefinement(self, request: Any, context: Any) -> AsyncIterator[WatchRefinementResponse]:
        yield WatchRefinementResponse(batch=EventBatch(events=[Event(seq=1, omitted_bytes=1)]))

    async def ReadEvent(self, request: Any, context: Any) -> AsyncIterator[ReadEventResponse]:
        while True:
            yield ReadEventResponse(data=bytes(64 << 10))


async def test_an_event_over_grpc_without_an_end_is_a_fault() -> None:
    async with grpc_client_of(
        lambda server: add_RefinementServiceServicer_to_server(Endless(), server)
    ) as hub:
        with pytest.raises(Fault, match="event 1 does not end"):
            await asyncio.wait_for(anext(hub.follow(ABSENT)), PATIENCE_S)


@pytest.mark.parametrize(("path", "reason"), [("", "does not answer with"), ("/line", "too large")])
async def test_server_sent_events_without_an_end_are_a_fault(path: str, reason: str) -> None:
    async with http_server(endless(200)) as url, Hub(url + path, "token", trust_env=False) as hub:
        with pytest.raises(Fault, match=reason):
            await asyncio.wait_for(anext(hub.follow(ABSENT, transport="sse")), PATIENCE_S)


async def test_a_message_of_a_websocket_without_an_end_is_refused() -> None:
    async with (
        stream_server(endless_messages, subprotocol="ideo.v1.proto") as url,
        Hub(f"{url}/pieces", "token", trust_env=False) as hub,
    ):
        with pytest.raises(Refused, match="above 1048576 bytes"):
            await asyncio.wait_for(anext(hub.follow(ABSENT)), PATIENCE_S)


async def test_a_check_of_a_server_that_does_not_come_to_an_end_ends() -> None:
    async def results(url: str, seconds: float) -> list[str]:
        checked = check(Target(url, "token"), ["headers", "run"], run_s=seconds, rule_s=seconds)
        return [each.outcome async for each in checked]

    async with http_server(endless(200)) as url:
        # What has no end is noticed by its size, and not by its time.
        assert set(await asyncio.wait_for(results(url, PATIENCE_S), 2 * PATIENCE_S)) == {"failed", "skipped"}
    async with http_server(endless(200, pause_s=0.05)) as url:
        with pytest.raises(Unavailable, match="has no end after 1 s"):
            await asyncio.wait_for(results(url, 1), PATIENCE_S)


async def test_a_call_over_connect_that_is_answered_without_an_end_fails() -> None:
    async with http_server(endless(200)) as url, connect_channel(url, "connect-json") as channel:
        with pytest.raises(target.Broken, match="more than 1048576 bytes"):
            await asyncio.wait_for(InfoServiceStub(channel).GetServerInfo(GetServerInfoRequest()), PATIENCE_S)
