"""Streams and errors over Connect and gRPC-Web: how they end, and what is left of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, NoReturn

import grpc
import grpc.aio
import httpx
import pytest
import pytest_asyncio

from ide_orchestrator.conformance.connect_channel import CONTENT_TYPES, connect_channel, enveloped
from server.http.websocket_protocol import hub_config
from server.wire import messages as m
from tests.support.grpc_interface import Caller, Refusal, refusal_of
from tests.support.hand_clock import PATIENCE_S, until
from tests.support.http_interface import http_interface, small_socket
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.tokens import bearer

WATCH = "/ide_orchestrator.v1.RefinementService/WatchRefinement"
ABSENT = "00000000-0000-4000-8000-000000000000"
every_channel = pytest.mark.parametrize("name", CONTENT_TYPES)


@pytest_asyncio.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database, heartbeat_s=0.1) as running:
        yield running


async def silent_run(hub: RunningHub) -> str:
    """The thread of a run that goes on without events."""
    async with hub.client() as client:
        return str((await start(client, "[[replay:short_run silent=20]]"))["thread_id"])


async def refused(call: Any) -> Refusal:
    """How a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value)


async def rest_of(stream: Any) -> list[Any]:
    return [message async for message in stream]


@every_channel
async def test_a_stream_is_hello_then_the_events_then_ok_with_the_last_seq(
    hub: RunningHub, name: str
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        await finished(client, started)
    async with connect_channel(hub.http, name) as channel:
        first, *others = await rest_of(Caller(channel, hub.token()).watch(started["thread_id"], 40))
        assert first.hello.last_seq == 52
        assert [event.seq for each in others for event in each.batch.events] == list(range(41, 53))
        assert channel.trailers["last-seq"] == "52"


@every_channel
async def test_a_quiet_stream_has_heartbeats_and_ends_at_its_callers_deadline(
    hub: RunningHub, name: str
) -> None:
    thread = await silent_run(hub)
    kinds: list[str | None] = []
    async with connect_channel(hub.http, name) as channel:
        ann = Caller(channel, hub.token())
        request = m.WatchRefinementRequest(thread_id=thread)

        async def watch(header: tuple[str, str]) -> None:
            watched = ann.refinements.WatchRefinement(request, metadata=(*ann.metadata, header))
            async for response in watched:
                kinds.append(response.WhichOneof("kind"))

        # On a busy machine, the first deadlines may be over before anything came.
        for deadline_ms in (700, 5_000, 50_000):
            connect = ("connect-timeout-ms", str(deadline_ms))
            header = connect if name.startswith("connect") else ("grpc-timeout", f"{deadline_ms}m")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await watch(header)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if {"hello", "heartbeat"} <= set(kinds) and int(channel.trailers["last-seq"]) >= 1:
                break
        assert {"hello", "heartbeat"} <= set(kinds)
        assert int(channel.trailers["last-seq"]) >= 1
        page = m.ListEventsRequest(thread_id=thread, after_seq=int(channel.trailers["last-seq"]))
        page.wait_seconds = 20
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ann.refinements.ListEvents(page, metadata=(*ann.metadata, header))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: hub.core.broadcaster.readers == 0)


async def test_a_reader_that_leaves_frees_its_place(hub: RunningHub) -> None:
    thread = await silent_run(hub)
    for name in CONTENT_TYPES:
        async with connect_channel(hub.http, name) as channel:
            watched = Caller(channel, hub.token()).watch(thread)
            await anext(watched)
            assert hub.core.broadcaster.readers == 1
            await watched.aclose()
        await until(lambda: hub.core.broadcaster.readers == 0)


@every_channel
async def test_a_server_that_stops_ends_its_streams_with_their_cursor_and_asks_to_come_back(
    hub: RunningHub, name: str
) -> None:
    thread = await silent_run(hub)
    async with http_interface(hub.core) as interface, connect_channel(interface.http, name) as channel:
        watched = Caller(channel, hub.token()).watch(thread)
        await anext(watched)
        reading = asyncio.create_task(rest_of(watched))
        interface.server.should_exit = True
        refusal = await refused(reading)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "shutting_down")
        assert refusal.retry_after_s == 1
        assert channel.trailers["last-seq"].isdigit()
    assert hub.core.broadcaster.readers == 0


@pytest.mark.parametrize("content_type", ["application/connect+json", "application/grpc-web+json"])
async def test_a_reader_that_takes_nothing_is_cut_off_and_others_are_not(
    hub: RunningHub, content_type: str
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:long_run]]")
        await finished(client, started)
    body = enveloped(json.dumps({"thread_id": started["thread_id"]}).encode())
    head = (
        f"POST {WATCH} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {hub.token()}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    transport = "connect" if "connect" in content_type else "grpc-web"
    async with http_interface(hub.core, send_deadline_s=0.3) as interface:
        config = hub_config(interface.server.config)
        stuck = small_socket(interface)
        try:
            await asyncio.get_running_loop().sock_sendall(stuck, head.encode() + body)
            await until(lambda: hub.core.broadcaster.readers == 1)
            # The connection of a reader that reads has all the time that a busy machine needs.
            config.send_deadline_s = PATIENCE_S
            async with connect_channel(interface.http, "connect-proto") as channel:
                whole = await Caller(channel, hub.token()).events(started["thread_id"])
            config.send_deadline_s = 0.3
            assert [event.seq for event in whole] == list(range(1, len(whole) + 1))
            await until(lambda: hub.core.broadcaster.readers == 0)
            await interface.until_connections(0)
        finally:
            stuck.close()
    async with httpx.AsyncClient(base_url=hub.http, timeout=60) as http:
        counted = (await http.get("/metrics")).text
    assert f'slow_readers_closed_total{{transport="{transport}"}} 1.0' in counted
    assert hub.core.outgoing.used_bytes == 0


async def test_an_error_has_the_details_that_it_has_over_grpc(hub: RunningHub) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        await finished(client, started)

    async def refusals(channel: Any) -> list[Refusal]:
        ann = Caller(channel, hub.token())
        wrong = m.StartRefinementRequest(workflow_id=await ann.workflow())
        return [
            replace(each, trace_id="")
            for each in (
                await refused(rest_of(ann.watch(started["thread_id"], 99))),
                await refused(ann.refinements.StartRefinement(wrong, metadata=ann.metadata)),
                await refused(rest_of(Caller(channel, "no token").watch(started["thread_id"]))),
                await refused(rest_of(ann.watch(ABSENT))),
                await refused(
                    ann.refinements.GetRefinement(m.GetRefinementRequest(thread_id=ABSENT), metadata=())
                ),
            )
        ]

    async with grpc.aio.insecure_channel(hub.grpc) as over_grpc:
        expected = await refusals(over_grpc)
    assert expected[0].metadata == {"floor": "1", "last_seq": "52"}
    for name in CONTENT_TYPES:
        async with connect_channel(hub.http, name) as channel:
            assert await refusals(channel) == expected, name


async def test_an_error_of_connect_is_http_with_its_headers_and_shows_details_to_people(
    hub: RunningHub,
) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = bearer(hub.token()) | {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    path = "/ide_orchestrator.v1.RefinementService/GetRefinement"
    async with httpx.AsyncClient(base_url=hub.http, timeout=60) as http:
        absent = await http.post(path, json={"thread_id": ABSENT}, headers=headers)
        assert absent.status_code == 404
        told = absent.json()
        assert (told["code"], told["message"]) == ("not_found", "no such refinement")
        shown = {each["type"]: each["debug"] for each in told["details"]}
        assert shown == {
            "google.rpc.ErrorInfo": {"reason": "not_found", "domain": "ide-orchestrator"},
            "google.rpc.RequestInfo": {"request_id": trace_id},
        }
        nobody = await http.post(path, json={"thread_id": ABSENT})
        assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
        assert nobody.headers["cache-control"] == "no-store"


class _Broken:
    async def find(self, *_: object) -> NoReturn:
        raise RuntimeError("the prompt was: top secret")


@every_channel
async def test_a_fault_of_the_hub_is_internal_and_leaks_nothing(
    hub: RunningHub, name: str, logged: list[Any]
) -> None:
    broken: Any = replace(hub.core, directory=_Broken())
    async with http_interface(broken) as interface, connect_channel(interface.http, name) as channel:
        ann = Caller(channel, hub.token())
        request = m.FindUsersRequest(email="ann@example.com")
        refusal = await refused(ann.users.FindUsers(request, metadata=ann.metadata))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INTERNAL, "internal")
    assert "secret" not in refusal.text
    (fault,) = [each for each in logged if each["event"] == "request_failed"]
    assert (fault["fault"], fault["trace_id"]) == ("RuntimeError", refusal.trace_id)
    assert fault["path"] == "/ide_orchestrator.v1.UserService/FindUsers"
    assert "secret" not in str(logged)


async def test_a_request_that_does_not_arrive_is_given_up(hub: RunningHub) -> None:
    async with http_interface(hub.core, body_deadline_s=0.3) as interface:
        host, _, port = interface.http.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST {WATCH} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {hub.token()}\r\n"
            "Content-Type: application/connect+proto\r\nContent-Length: 100\r\n\r\n\0".encode()
        )
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"reader_too_slow"' in answer
