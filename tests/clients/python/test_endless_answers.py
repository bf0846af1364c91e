"""An answer without an end is not one of a hub: it is a fault, and neither kept nor waited for."""

from __future__ import annotations

import asyncio
from asyncio import StreamWriter
from collections.abc import Awaitable, Callable

import pytest

from ide_orchestrator.client import Fault, Hub, Unavailable, responses
from ide_orchestrator.conformance import Target, check, target
from ide_orchestrator.conformance.connect_channel import connect_channel
from ide_orchestrator.v1.info_pb2 import GetServerInfoRequest
from ide_orchestrator.v1.info_pb2_grpc import InfoServiceStub
from tests.support.servers import http_server

ABSENT = "00000000-0000-4000-8000-000000000000"
KIB = b"10000\r\n" + b" " * (64 << 10) + b"\r\n"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "MAX_RESPONSE_BYTES", 1 << 20)
    monkeypatch.setattr(target, "MAX_RESPONSE_BYTES", 1 << 20)


def endless(status: int, *, pause_s: float = 0) -> Callable[[bytes, bytes, StreamWriter], Awaitable[bytes]]:
    """Answers with pieces without an end."""

    async def answer(head: bytes, body: bytes, writer: StreamWriter) -> bytes:
        kind = "application/json" if status == 200 else "application/problem+json"
        sent = f"HTTP/1.1 {status} Scripted\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(sent.encode())
        while True:
            writer.write(b"1\r\n \r\n" if pause_s else KIB)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return answer


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
            await asyncio.wait_for(CALLS[name](hub), 20)


async def test_a_refusal_of_a_stream_or_of_a_download_without_an_end_is_a_fault() -> None:
    async with http_server(endless(403)) as url, Hub(url, "token", trust_env=False) as hub:
        with pytest.raises(Fault, match="does not end"):
            async for _ in hub.follow(ABSENT, transport="sse"):
                pass
        with pytest.raises(Fault, match="does not end"):
            async for _ in hub.pieces("/x"):
                pass


async def test_a_check_of_a_server_that_does_not_come_to_an_end_ends() -> None:
    async def results(url: str) -> list[str]:
        checked = check(Target(url, "token"), ["headers", "run"], run_s=1, rule_s=1)
        return [each.outcome async for each in checked]

    async with http_server(endless(200)) as url:
        assert set(await asyncio.wait_for(results(url), 30)) == {"failed", "skipped"}
    async with http_server(endless(200, pause_s=0.05)) as url:
        with pytest.raises(Unavailable, match="has no end after 1 s"):
            await asyncio.wait_for(results(url), 30)


async def test_a_call_over_connect_that_is_answered_without_an_end_fails() -> None:
    async with http_server(endless(200)) as url, connect_channel(url, "connect-json") as channel:
        with pytest.raises(target.Broken, match="more than 1048576 bytes"):
            await asyncio.wait_for(InfoServiceStub(channel).GetServerInfo(GetServerInfoRequest()), 20)
