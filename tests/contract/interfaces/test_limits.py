"""What one caller may do at a time, on every transport, and what a client may take for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any
from uuid import UUID

import grpc
import grpc.aio
import httpx
import pytest
from websockets.exceptions import InvalidStatus

from ide_orchestrator.v1 import refinement_pb2_grpc, workflow_pb2_grpc
from server.domain.access.refused_bytes import BURST_BYTES
from server.wire import messages as m
from tests.support.grpc_interface import refusal_of
from tests.support.hand_clock import PATIENCE_S, retried, until
from tests.support.http_interface import HttpInterface, http_interface, problem, socket, upgrade
from tests.support.hub import RunningHub, a_workflow, running_hub, start

QUIET = "[[replay:short_run silent=20]]"


@pytest.fixture
async def replicas(database: str) -> AsyncIterator[list[RunningHub]]:
    limits: dict[str, Any] = {"max_active_runs": 2, "max_streams": 3, "heartbeat_s": 0.2}
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_hub(database, **limits)) for _ in range(2)]


def http(hub: RunningHub, email: str = "ann@example.com") -> httpx.AsyncClient:
    """An HTTP client of a user's."""
    headers = {"Authorization": f"Bearer {hub.token(email)}"}
    return httpx.AsyncClient(base_url=hub.http, headers=headers, timeout=60, trust_env=False)


def metadata(hub: RunningHub) -> Any:
    """A caller's metadata."""
    return (("authorization", f"Bearer {hub.token()}"),)


def refused(answer: httpx.Response) -> None:
    """It is refused for a while."""
    assert (answer.status_code, problem(answer)["code"]) == (429, "limit_reached")
    assert 1 <= int(answer.headers["retry-after"]) <= 60


async def the_minute_begins_now(hub: RunningHub) -> None:
    """Have the minute of what was created begin now, however long that took on a busy machine."""
    await hub.core.pool.execute("UPDATE quotas SET minute_began_at = now()")


async def test_only_a_caller_at_the_limit_of_live_runs_has_to_wait(
    replicas: list[RunningHub],
) -> None:
    one, two = replicas
    async with one.client() as client:
        workflow = await a_workflow(client)
        started = [await start(client, QUIET, workflow) for _ in range(2)]
    body = {"user_prompt": QUIET}
    async with http(two) as ann:
        refused(await ann.post(f"/api/workflows/{workflow}/refinements", json=body))
    async with grpc.aio.insecure_channel(two.grpc) as channel:
        stub: Any = refinement_pb2_grpc.RefinementServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.StartRefinement(
                m.StartRefinementRequest(workflow_id=workflow, user_prompt=QUIET), metadata=metadata(two)
            )
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "limit_reached")
    assert (refusal.retry_after_s or 0) >= 1
    async with two.client("bob@example.com") as bob:
        assert await start(bob, QUIET)
    async with http(one) as ann:
        assert (await ann.post(f"/api/refinements/{started[0]['thread_id']}/cancel")).status_code == 200
        again = await ann.post(f"/api/workflows/{workflow}/refinements", json=body)
        assert again.status_code == 202


async def test_a_caller_makes_so_many_a_minute_over_all_interfaces_and_replicas(database: str) -> None:
    limits: dict[str, Any] = {"max_creates_per_minute": 4}
    async with running_hub(database, **limits) as one, running_hub(database, **limits) as two:
        async with http(one) as ann, http(two) as again:
            for client in (ann, again):
                assert (await client.post("/api/workflows", json={"name": "w"})).status_code == 201
            async with grpc.aio.insecure_channel(one.grpc) as channel:
                stub: Any = workflow_pb2_grpc.WorkflowServiceStub(channel)
                made = await stub.CreateWorkflow(m.CreateWorkflowRequest(name="w"), metadata=metadata(one))
            path = f"/api/workflows/{made.workflow.id}/refinements"
            body = {"user_prompt": "[[replay:short_run]]"}
            key = {"Idempotency-Key": "once"}
            first = await ann.post(path, json=body, headers=key)
            assert first.status_code == 202
            await the_minute_begins_now(one)
            refused(await again.post("/api/workflows", json={"name": "w"}))
            refused(await ann.post(path, json=body))
            # The answer to an earlier start is given all the same.
            repeated = await again.post(path, json=body, headers=key)
            assert repeated.json() == first.json()
            # Reading does not count as creating.
            assert (await ann.get("/api/workflows")).status_code == 200
        async with http(two, "bob@example.com") as bob:
            assert (await bob.post("/api/workflows", json={"name": "w"})).status_code == 201


async def test_a_caller_has_so_many_streams_over_all_interfaces_and_replicas(
    replicas: list[RunningHub],
) -> None:
    one, two = replicas
    async with one.client() as client:
        thread = (await start(client, QUIET))["thread_id"]
    async with http(two) as ann, AsyncExitStack() as streams:
        await streams.enter_async_context(socket(one.http, thread, one.token()))
        await streams.enter_async_context(socket(two.http, thread, two.token(), "ideo.v1"))
        channel = await streams.enter_async_context(grpc.aio.insecure_channel(two.grpc))
        stub: Any = refinement_pb2_grpc.RefinementServiceStub(channel)
        request = m.WatchRefinementRequest(thread_id=thread)
        third = stub.WatchRefinement(request, metadata=metadata(two))
        assert (await third.read()).HasField("hello")

        status, headers, told = await upgrade(
            one.http, f"/api/ws/refinements/{thread}?token={one.token()}", {}
        )
        assert (status, told["code"], headers["retry-after"]) == (429, "limit_reached", "5")
        refused(await ann.get(f"/api/refinements/{thread}/events", headers={"Accept": "text/event-stream"}))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.WatchRefinement(request, metadata=metadata(two)).read()
        assert refusal_of(caught.value).reason == "limit_reached"
        # A page does not count as a stream. Another caller is not affected: the thread is not found.
        assert (await ann.get(f"/api/refinements/{thread}/events")).status_code == 200
        async with http(two, "bob@example.com") as bob:
            assert (await bob.get(f"/api/refinements/{thread}/events")).status_code == 404
        third.cancel()
        await until(lambda: two.core.broadcaster.readers == 1)

        async def opens_another() -> None:
            await two.core.quotas.sync()
            async with socket(one.http, thread, one.token()):
                pass

        await retried(opens_another, InvalidStatus)


async def test_a_share_link_counts_for_its_maker_and_does_not_keep_it_out(replicas: list[RunningHub]) -> None:
    one, two = replicas
    async with one.client() as client:
        started = await start(client, QUIET)
        shares = f"/api/proposals/{started['proposal_id']}/shares"
        secrets = [(await client.call("POST", shares, {}))["secret"] for _ in range(3)]
    thread = started["thread_id"]
    async with AsyncExitStack() as streams:

        async def is_refused(token: str) -> None:
            status, _, told = await upgrade(
                two.http, f"/api/ws/refinements/{thread}", {"Authorization": f"Bearer {token}"}
            )
            assert (status, told["code"]) == (429, "limit_reached")

        for hub, token in ((two, secrets[0]), (one, secrets[1])):
            await streams.enter_async_context(socket(hub.http, thread, token, "ideo.v1"))
        await is_refused(secrets[2])
        # A part of its streams is the maker's alone.
        await streams.enter_async_context(socket(one.http, thread, one.token(), "ideo.v1"))
        await is_refused(one.token())


async def test_links_grants_and_tickets_count_as_creations(database: str) -> None:
    async with running_hub(database, max_creates_per_minute=5) as hub:
        async with hub.client() as client:
            started = await start(client, QUIET)
        async with hub.client("bob@example.com") as client:
            bob = (await client.call("GET", "/api/me"))["user_id"]
        proposal = f"/api/proposals/{started['proposal_id']}"
        ticket, grant = {"thread_id": started["thread_id"]}, {"access_type": "viewer"}
        async with http(hub) as ann:
            assert (await ann.post(f"{proposal}/shares", json={})).status_code == 201
            assert (await ann.post("/api/ws/tickets", json=ticket)).status_code == 201
            assert (await ann.put(f"{proposal}/access/{bob}", json=grant)).status_code == 200
            await the_minute_begins_now(hub)
            refused(await ann.post(f"{proposal}/shares", json={}))
            refused(await ann.post("/api/ws/tickets", json=ticket))
            refused(await ann.put(f"{proposal}/access/{bob}", json=grant))


# --- Slow and many clients ----------------------------------------------------------------------


async def answer_of(interface: HttpInterface, *parts: bytes) -> tuple[int, bytes]:
    """What a client that sends these parts and then nothing is answered: status and all until the end."""
    host, _, port = interface.http.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(PATIENCE_S):
            told = await reader.read()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return int(told.split()[1]) if told else 0, told


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"GET /healthz HT",),
        (b"GET /healthz HTTP/1.1\r\n", b"Host: x\r\n", b"X-Slow: "),
        (b"POST /api/workflows HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", b'{"na'),
        (b"POST /api/workflows HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\n{"),
        (b"GET /api/ws/refinements/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: webs",),
    ],
    ids=["nothing", "request line", "headers", "body", "chunked body", "upgrade"],
)
async def test_a_request_that_does_not_come_to_its_end_is_given_up(
    database: str, parts: tuple[bytes, ...]
) -> None:
    async with (
        running_hub(database) as hub,
        http_interface(hub.core, head_deadline_s=0.3, body_deadline_s=0.3) as interface,
    ):
        head = (b"authorization: Bearer " + hub.token().encode() + b"\r\nHost: x\r\n",)
        sent = tuple(part.replace(b"Host: x\r\n", head[0]) for part in parts)
        status, told = await answer_of(interface, *sent)
        assert (status, b'"code":"reader_too_slow"' in told) == (408, True)
        await interface.until_connections(0)
        # Who is quick is not hurried: many requests on one connection, for longer than one may take.
        async with httpx.AsyncClient(base_url=interface.http, trust_env=False, timeout=60) as client:
            loop = asyncio.get_running_loop()
            until_then = loop.time() + 0.7
            while loop.time() < until_then:
                assert (await client.get("/healthz")).status_code == 200


async def test_streams_are_not_hurried(database: str) -> None:
    async with (
        running_hub(database, heartbeat_s=0.1) as hub,
        http_interface(hub.core, head_deadline_s=0.2, body_deadline_s=0.2) as interface,
        hub.client() as client,
    ):
        thread = (await start(client, "[[replay:short_run silent=20]]"))["thread_id"]
        async with socket(interface.http, thread, hub.token(), "ideo.v1") as opened, http(hub) as ann:
            url = f"{interface.http}/api/refinements/{thread}/events"
            async with ann.stream("GET", url, headers={"Accept": "text/event-stream"}) as answer:
                lines = answer.aiter_lines()
                for _ in range(12):
                    assert await opened.recv()
                    assert await anext(lines) is not None


async def test_a_connection_too_many_is_answered_and_the_streams_stay(database: str) -> None:
    reasons: list[str] = []
    async with (
        running_hub(database) as hub,
        http_interface(hub.core, max_connections=2, on_cut_off=reasons.append) as interface,
        hub.client() as client,
    ):
        thread = (await start(client, QUIET))["thread_id"]
        async with (
            socket(interface.http, thread, hub.token(), "ideo.v1") as one,
            socket(interface.http, thread, hub.token(), "ideo.v1") as two,
        ):
            for parts in ((), (b"GET /api/workflows HTTP/1.1\r\nHost: x\r\n\r\n",)):
                status, told = await answer_of(interface, *parts)
                assert (status, b'"code":"limit_reached"' in told) == (429, True)
                assert b"retry-after: 5" in told
            assert reasons == ["connections"] * 2
            # A full replica is not taken for a dead one.
            status, told = await answer_of(interface, b"GET /healthz?x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (status, b"connection: close" in told) == (200, True)
            assert await one.recv()
            assert await two.recv()
        await interface.until_connections(0)
        async with httpx.AsyncClient(base_url=interface.http, trust_env=False, timeout=60) as three:
            assert (await three.get("/healthz")).status_code == 200


async def test_connections_that_send_nothing_keep_nobody_out(database: str) -> None:
    async with running_hub(database) as hub, http_interface(hub.core, max_connections=3) as interface:
        host, _, port = interface.http.removeprefix("http://").rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(10)]
        try:
            async with httpx.AsyncClient(base_url=interface.http, trust_env=False, timeout=60) as client:
                assert (await client.get("/healthz")).status_code == 200
            assert b"429" in await silent[0][0].read()
        finally:
            for _, writer in silent:
                writer.close()


async def test_large_requests_that_are_refused_count_for_the_caller_on_both_interfaces(database: str) -> None:
    lists = b'{"name": "a", "agent_definition": {"x": [' + b"[]," * 800_000 + b"[]]}}"
    large = m.CreateWorkflowRequest(name="a")
    large.files.add(path="/a", text="a" * 100_000)
    async with running_hub(database) as hub, http(hub) as ann, http(hub, "bob@example.com") as bob:
        small = await ann.post("/api/workflows", json={"name": "a"})
        answer = await ann.post("/api/workflows", content=lists)
        assert (answer.status_code, {*problem(answer)["fields"]}) == (400, {"body"})
        # One more refusal than the caller's budget has room for, so large that it lasts.
        hub.core.refused_bytes.count(UUID(small.json()["owner_user_id"]), BURST_BYTES * 7 // 4)
        refused(await ann.post("/api/workflows", content=lists))
        async with grpc.aio.insecure_channel(hub.grpc) as channel:
            stub: Any = workflow_pb2_grpc.WorkflowServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.CreateWorkflow(large, metadata=metadata(hub))
        assert (await ann.post("/api/workflows", json={"name": "a"})).status_code == 201
        assert (await bob.post("/api/workflows", content=lists)).status_code == 400
    assert refusal_of(caught.value).reason == "limit_reached"
