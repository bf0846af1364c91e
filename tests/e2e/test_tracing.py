"""One refinement is one trace, over two replicas that are processes of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc.aio
import httpx

from ide_orchestrator.v1 import refinement_pb2_grpc
from server.observability.traces import FLUSH_S
from server.wire import messages as m
from tests.e2e.collector import Collector, running_collector
from tests.support import tokens
from tests.support.http_interface import socket
from tests.support.processes import Process, hub_environment, replay_process, running
from tests.support.servers import tcp_server

#: Stands in everything that a user may write.
CANARY = "kingfisher-4711"
#: The trace that the caller's own request belongs to.
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def traced_refinement(database: str, collector: Collector) -> tuple[str, str]:
    """A refinement that one replica runs, watched by WebSocket there and over gRPC at another; its thread,
    and the token that was used."""
    token = tokens.token()
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(replay_process())
        tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        environment = hub_environment(database, runtime, **tracing)
        hubs = [await stack.enter_async_context(running("serve", environment=environment)) for _ in range(2)]
        for hub in hubs:
            await hub.serving("HTTP", "gRPC")
        one, two = hubs
        headers = {"Authorization": f"Bearer {token}", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        async with httpx.AsyncClient(
            base_url=one.addresses["HTTP"], headers=headers, trust_env=False, timeout=30
        ) as http:
            made = await http.post("/api/workflows", json={"name": CANARY, "files": {"/a.md": CANARY}})
            started = await http.post(
                f"/api/workflows/{made.json()['id']}/refinements",
                json={"user_prompt": f"[[replay:short_run]] {CANARY}"},
            )
            thread = str(started.json()["thread_id"])
            await http.get(f"/api/proposals?cursor={CANARY}")
        query = f"?token={token}&x={CANARY}"
        async with socket(one.addresses["HTTP"], thread, None, "ideo.v1", query=query) as opened:
            async for _ in opened:
                pass
        async with grpc.aio.insecure_channel(two.addresses["gRPC"]) as channel:
            stub = refinement_pb2_grpc.RefinementServiceStub(channel)
            watch = stub.WatchRefinement(
                m.WatchRefinementRequest(thread_id=thread), metadata=(("authorization", f"Bearer {token}"),)
            )
            seqs = [event.seq async for response in watch for event in response.batch.events]
        assert seqs == list(range(1, 53))
        for hub in hubs:
            # On its way out each sends what waits.
            assert await hub.stop() == 0
    return thread, token


async def test_a_refinement_watched_on_two_replicas_is_one_connected_trace(database: str) -> None:
    async with running_collector() as collector:
        thread, token = await traced_refinement(database, collector)
    own = {span.span_id: span for span in collector.spans if span.trace_id == TRACE}
    [invoke] = collector.named("deepagents_runtime.invoke")
    [ingest] = collector.named("refinement.ingest")
    deliveries = collector.named("refinement.deliver")
    assert invoke.attributes["job_id"] == thread
    assert invoke.attributes["trace_id"].replace("-", "") == TRACE  # type: ignore[union-attr]
    assert (invoke.attributes["http.status_code"], invoke.failed) == (200, False)
    assert (ingest.attributes["thread_id"], ingest.attributes["refinement.outcome"]) == (thread, "completed")
    # Connected: each span's parent is in the trace, up to the start's request, whose parent is the caller.
    assert own[invoke.parent_id] == ingest
    start = own[ingest.parent_id]
    assert start.parent_id == "b7ad6b7169203331"
    assert start.attributes["http.status_code"] == 202
    assert [own[span.parent_id] for span in deliveries] == [start, start]
    assert {span.trace_id for span in deliveries} == {TRACE}
    # From both replicas, and linked to the readers' own requests.
    assert len({span.where for span in deliveries}) == 2
    readers = {span.span_id: span for span in collector.spans}
    names = {readers[span.links[0]].name for span in deliveries}
    assert len(names) == 2
    assert any("WatchRefinement" in name for name in names)
    # And nothing of what the user wrote or showed.
    for secret in (CANARY, token, *token.split(".")):
        assert not [text for text in collector.raw if secret in text]
    assert len(collector.spans) < 30


async def test_an_invoke_that_fails_is_an_error_of_its_span(database: str) -> None:
    token = tokens.token()
    async with running_collector() as collector:
        environment = hub_environment(
            database, "http://127.0.0.1:9", OTEL_EXPORTER_OTLP_ENDPOINT=collector.address
        )
        async with running("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            async with httpx.AsyncClient(
                base_url=hub.addresses["HTTP"],
                headers={"Authorization": f"Bearer {token}"},
                trust_env=False,
                timeout=60,
            ) as http:
                made = await http.post("/api/workflows", json={"name": "w"})
                path = f"/api/workflows/{made.json()['id']}/refinements"
                assert (await http.post(path, json={"user_prompt": "x"})).status_code == 503
            assert await hub.stop() == 0
        spans = collector.named("deepagents_runtime.invoke")
    assert spans
    assert all(span.failed and "http.status_code" not in span.attributes for span in spans)


@asynccontextmanager
async def hub_that_reports_to(port: int, database: str, **settings: str) -> AsyncIterator[Process]:
    """A hub that has been called, and reports its traces to the collector at a port."""
    tracing = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        # Longer than the tests wait: what ends the wait is the hub.
        "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
        **settings,
    }
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(replay_process())
        environment = hub_environment(database, runtime, **tracing)
        hub = await stack.enter_async_context(running("serve", environment=environment))
        await hub.serving("HTTP")
        async with httpx.AsyncClient(base_url=hub.addresses["HTTP"], trust_env=False) as http:
            await http.get("/api/proposals")
        yield hub


async def test_a_collector_that_does_not_answer_keeps_no_hub_from_stopping(database: str) -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await asyncio.Event().wait()

    async with tcp_server(silent) as port, hub_that_reports_to(port, database, IDEO_DRAIN_S="0") as hub:
        await asyncio.wait_for(asked.wait(), 60)
        began = time.monotonic()
        assert await hub.stop() == 0
    assert time.monotonic() - began < 2 * FLUSH_S + 5


async def test_of_a_collectors_answer_without_an_end_nothing_is_read(database: str) -> None:
    left = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(bytes(1 << 16))
                await writer.drain()
        except OSError:
            left.set()

    async with tcp_server(endless) as port, hub_that_reports_to(port, database):
        await asyncio.wait_for(left.wait(), 30)
