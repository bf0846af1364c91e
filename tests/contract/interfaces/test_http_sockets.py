"""The WebSocket: how it is opened, who may, what it sends, and how it closes."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import AsyncExitStack, suppress
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import generate_latest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.protocol import State

from ide_orchestrator.v1 import refinement_pb2
from server.http.handshake import BEARER_PREFIX
from server.http.server import MAX_CLIENT_MESSAGE_BYTES
from server.http.websocket_frames import close_frame
from tests.contract.interfaces.quiet import quiet_thread
from tests.support.hand_clock import PATIENCE_S, until
from tests.support.http_interface import ORIGIN, http_interface, socket, upgrade, upgrade_request
from tests.support.hub import RunningHub, running_hub
from tests.support.stored import SPOIL_EVENTS, change_rows
from tests.support.tokens import bearer

ABSENT = "00000000-0000-4000-8000-000000000000"


def last_seq(message: str | bytes) -> int | None:
    """The last seq that a message of any form brings."""
    if isinstance(message, bytes):
        told = refinement_pb2.WatchRefinementResponse.FromString(message)
        return told.batch.events[-1].seq if told.batch.events else None
    value = json.loads(message)
    if "event_type" in value:
        seq: int | None = value.get("seq")
        return seq
    events = value.get("batch", {}).get("events", ())
    return int(events[-1]["seq"]) if events else None


async def read_to(opened: ClientConnection, seq: int) -> list[str | bytes]:
    """The messages up to the one that brings the seq."""
    found = []
    while True:
        found.append(await opened.recv())
        if last_seq(found[-1]) == seq:
            return found


async def closed(opened: ClientConnection) -> tuple[int | None, str | None]:
    """The close's code and reason, once it has come."""
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionClosed):
            while True:
                await opened.recv()
    return opened.close_code, opened.close_reason


async def message_of(reader: asyncio.StreamReader) -> str | bytes:
    """The next message of a server whose messages are one frame each (RFC 6455 section 5.2)."""
    kind, size = await reader.readexactly(2)
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
    data = await reader.readexactly(size)
    return data.decode() if kind & 0x0F == Opcode.TEXT else data


# --- What is sent ------------------------------------------------------------------------------


async def test_without_a_subprotocol_the_runtimes_frames_come_in_the_legacy_form(
    hub: RunningHub, thread: str
) -> None:
    async with socket(hub.http, thread, hub.token()) as opened:
        assert opened.subprotocol is None
        texts = [text async for text in opened]
        assert (opened.close_code, opened.close_reason) == (1000, "")
    frames = [json.loads(text) for text in texts]
    assert all(isinstance(text, str) for text in texts)
    assert all(list(frame) == ["event_type", "data", "seq"] for frame in frames)
    assert [frame["seq"] for frame in frames] == list(range(2, 53))
    assert frames[-1]["event_type"] == "end"
    states = [frame["data"] for frame in frames if frame["event_type"] == "on_state_update"]
    files = states[-1]["files"]
    assert set(files) == {"/THE_SPEC/constitution.md", "/definition.json"}
    for file in files.values():
        assert all(isinstance(line, str) for line in file["content"])


@pytest.mark.parametrize("protocol", ["ideo.v1", "ideo.v1.proto"])
async def test_typed_messages_begin_with_a_hello_and_bring_every_event(
    hub: RunningHub, thread: str, protocol: str
) -> None:
    async with socket(hub.http, thread, hub.token(), protocol) as opened:
        messages = [message async for message in opened]
        assert opened.close_code == 1000
    if protocol == "ideo.v1":
        told = [json.loads(message) for message in messages]
        assert told[0] == {"hello": {"epoch": 1, "last_seq": 52, "floor": 1, "recovered": True}}
        seqs = [event["seq"] for message in told[1:] for event in message["batch"]["events"]]
    else:
        parsed = [refinement_pb2.WatchRefinementResponse.FromString(message) for message in messages]  # type: ignore[arg-type]
        assert (parsed[0].hello.epoch, parsed[0].hello.last_seq, parsed[0].hello.floor) == (1, 52, 1)
        seqs = [event.seq for message in parsed[1:] for event in message.batch.events]
    assert seqs == list(range(1, 53))


async def test_a_quiet_stream_gives_signs_of_life_with_the_end_of_the_journal(database: str) -> None:
    async with running_hub(database, heartbeat_s=0.1) as hub:
        thread = await quiet_thread(hub)
        async with (
            socket(hub.http, thread, hub.token(), "ideo.v1", query="?after=11") as json_reader,
            socket(hub.http, thread, hub.token(), "ideo.v1.proto", query="?after=11") as proto_reader,
        ):
            await json_reader.recv()
            await proto_reader.recv()
            for _ in range(2):
                told = json.loads(await json_reader.recv())
                assert told == {"heartbeat": {"last_seq": 11, "progress": ""}}
                parsed = refinement_pb2.WatchRefinementResponse.FromString(await proto_reader.recv())  # type: ignore[arg-type]
                assert parsed.heartbeat.last_seq == 11


# --- How it is opened --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((), None),
        (("ideo.v1",), "ideo.v1"),
        (("ideo.v1.proto",), "ideo.v1.proto"),
        (("ideo.v1.proto", "ideo.v1"), "ideo.v1.proto"),
        (("chat", "ideo.v2"), None),
        (("ideo.v2", "ideo.v1"), "ideo.v1"),
    ],
)
async def test_the_first_known_subprotocol_is_chosen(
    hub: RunningHub, thread: str, offered: tuple[str, ...], chosen: str | None
) -> None:
    async with socket(hub.http, thread, hub.token(), *offered) as opened:
        assert opened.subprotocol == chosen
        assert await closed(opened) == (1000, "")


async def test_a_token_may_come_in_three_ways_and_is_never_sent_back(hub: RunningHub, thread: str) -> None:
    token = hub.token()
    bearer = BEARER_PREFIX + token
    path = f"/api/ws/refinements/{thread}"
    for query, headers, chosen in (
        (f"?token={token}", {}, None),
        ("", {"Authorization": f"Bearer {token}"}, None),
        ("", {"Sec-WebSocket-Protocol": bearer}, None),
        ("", {"Sec-WebSocket-Protocol": f"ideo.v1, {bearer}"}, "ideo.v1"),
        ("", {"Sec-WebSocket-Protocol": f"{bearer},ideo.v1.proto"}, "ideo.v1.proto"),
        ("", {"Sec-WebSocket-Protocol": f"ideo.legacy, {bearer}"}, "ideo.legacy"),
    ):
        status, told, _ = await upgrade(hub.http, path + query, headers)
        assert status == 101
        assert told.get("sec-websocket-protocol") == chosen
        assert token not in str(told)
    # The seed's way counts last, also when it is the right one.
    status, _, told = await upgrade(hub.http, f"{path}?token={token}", {"Authorization": "Bearer x.y.z"})
    assert (status, told["code"]) == (401, "unauthenticated")


async def test_only_pages_of_allowed_origins_may_open_it(hub: RunningHub, thread: str) -> None:
    path = f"/api/ws/refinements/{thread}?token={hub.token()}"
    for origin in (ORIGIN, ORIGIN.upper().replace("HTTPS", "https"), hub.http, "http://localhost:5173", None):
        status, _, told = await upgrade(hub.http, path, {"Origin": origin} if origin else {})
        assert status == 101, (origin, told)
    for origin in (
        "null",
        "",
        "*",
        "https://evil.example",
        f"{ORIGIN}.evil.example",
        "https://evil-ide.bizmatters.com",
        "https://evil.ide.bizmatters.com",
        f"{ORIGIN}:8443",
        f"{ORIGIN}/",
        f"{ORIGIN}@evil.example",
        "http://ide.bizmatters.com",
        "https://\u0131de.bizmatters.com",
        hub.http.replace("127.0.0.1", "127.0.0.2"),
    ):
        status, headers, told = await upgrade(hub.http, path, {"Origin": origin})
        assert (status, told["code"]) == (403, "permission_denied"), origin
        assert headers["content-type"] == "application/problem+json"
        assert "access-control-allow-origin" not in headers


async def test_a_refusal_comes_before_the_upgrade_as_a_problem(hub: RunningHub, thread: str) -> None:
    token = hub.token()
    eve = hub.token("eve@example.com")
    here = f"/api/ws/refinements/{thread}"
    nothing = f"/api/ws/refinements/{ABSENT}"
    refusals = {
        "no token": (here, None, 401, "unauthenticated"),
        "no valid token": (here, "x.y.z", 401, "unauthenticated"),
        "an expired token": (here, hub.token(minutes=-10), 401, "unauthenticated"),
        "no token for nothing": (nothing, None, 401, "unauthenticated"),
        "foreign": (here, eve, 403, "permission_denied"),
        "absent": (nothing, token, 403, "permission_denied"),
        "no uuid": ("/api/ws/refinements/x%00", token, 403, "permission_denied"),
        "a bad cursor": (f"{here}?after=-1", token, 400, "invalid_argument"),
        "no number": (f"{here}?after=hunter2", token, 400, "invalid_argument"),
        "a cursor beyond the end": (f"{here}?after=53", token, 410, "cursor_out_of_range"),
        "another address": ("/api/ws/nothing", token, 404, "not_found"),
    }
    answers = {}
    for name, (path, shown, status, code) in refusals.items():
        headers = {"Authorization": f"Bearer {shown}"} if shown else {}
        for form in ({}, {"Sec-WebSocket-Protocol": "ideo.v1"}, {"Sec-WebSocket-Protocol": "ideo.v1.proto"}):
            got, told, problem = await upgrade(hub.http, path, headers | form)
            assert (got, problem["code"], problem["status"]) == (status, code, status), name
            assert told["content-type"] == "application/problem+json"
            assert told["x-content-type-options"] == "nosniff"
            assert problem["instance"] == path.partition("?")[0].replace("%00", "\0")
            assert len(problem["trace_id"]) == 32
            assert "hunter2" not in json.dumps(problem)
        answers[name] = {key: problem[key] for key in ("type", "title", "detail", "error", "code")}
        if status == 401:
            assert told["www-authenticate"] == "Bearer"
    assert answers["foreign"] == answers["absent"] == answers["no uuid"]
    assert (await upgrade(hub.http, f"{here}?after=x", {"Authorization": f"Bearer {token}"}))[2][
        "fields"
    ].keys() == {"after"}
    gone = (await upgrade(hub.http, f"{here}?after=99", {"Authorization": f"Bearer {token}"}))[2]
    assert (gone["floor"], gone["last_seq"]) == (1, 52)


async def test_a_refused_upgrade_logs_no_error(
    hub: RunningHub, thread: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = bearer(hub.token())
    path = f"/api/ws/refinements/{thread}"
    for address, headers, status in (
        (path, {}, 401),
        (path, bearer("x.y.z"), 401),
        (f"{path}?ticket=x", {}, 401),
        (path, token | {"Origin": "https://evil.example"}, 403),
        (f"/api/ws/refinements/{ABSENT}", token, 403),
        (f"{path}?after=99", token, 410),
        (f"{path}?after=x", token, 400),
        ("/api/ws/nothing", token, 404),
    ):
        assert (await upgrade(hub.http, address, headers))[0] == status
    # Clients that go away, or say something else, before they are answered.
    host, _, port = hub.http.removeprefix("http://").rpartition(":")
    for rest in (b"", b"hunter2", b"\xff" * 100, b"\x88\x80\0\0\0\0"):
        for shown in (thread, ABSENT):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(upgrade_request(hub.token(), shown, "ideo.v1") + rest)
            writer.transport.abort() if not rest else writer.close()
    await until(lambda: hub.core.broadcaster.readers == 0)
    assert (await upgrade(hub.http, path, {}))[0] == 401
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_two_tokens_in_headers_are_as_good_as_none(hub: RunningHub, thread: str) -> None:
    host, _, port = hub.http.removeprefix("http://").rpartition(":")
    for path, upgraded in ((f"/api/ws/refinements/{thread}", True), ("/api/workflows", False)):
        reader, writer = await asyncio.open_connection(host, int(port))
        twice = f"Authorization: Bearer {hub.token()}\r\n" * 2
        asks = (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )
        writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\n{asks if upgraded else ''}{twice}\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.close()


async def test_a_malformed_upgrade_is_refused(hub: RunningHub, thread: str) -> None:
    path = f"/api/ws/refinements/{thread}?token={hub.token()}"
    for headers in (
        {"Sec-WebSocket-Version": "12"},
        {"Sec-WebSocket-Key": "short"},
        {"Sec-WebSocket-Key": ""},
    ):
        status, told, _ = await upgrade(hub.http, path, headers)
        assert status in (400, 426), headers
        assert hub.token() not in str(told)


async def test_a_draining_replica_opens_no_more(hub: RunningHub, thread: str) -> None:
    hub.core.refinements.accepting = False
    path = f"/api/ws/refinements/{thread}?token={hub.token()}"
    status, headers, problem = await upgrade(hub.http, path, {})
    assert (status, problem["code"]) == (503, "shutting_down")
    assert int(headers["retry-after"]) >= 1


# --- What clients say --------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [(), ("ideo.v1",), ("ideo.v1.proto",)])
async def test_what_a_client_says_is_dropped_up_to_a_size(hub: RunningHub, protocol: tuple[str, ...]) -> None:
    thread = await quiet_thread(hub)
    async with socket(hub.http, thread, hub.token(), *protocol) as opened:
        for _ in range(5):  # within what a client may send at once
            await opened.send("x" * MAX_CLIENT_MESSAGE_BYTES)
            await opened.send(b"\xff" * MAX_CLIENT_MESSAGE_BYTES)
        await opened.send(["in ", "pieces"])
        await (await opened.ping())
        await read_to(opened, 11)
        await opened.send("x" * (MAX_CLIENT_MESSAGE_BYTES + 1))
        code, _ = await closed(opened)
        assert code == 1009


async def test_a_message_in_pieces_is_bounded_as_a_whole(hub: RunningHub) -> None:
    thread = await quiet_thread(hub)
    async with socket(hub.http, thread, hub.token()) as opened:
        with suppress(ConnectionClosed):
            await opened.send("x" * 1000 for _ in range(6))
        code, _ = await closed(opened)
        assert code == 1009


async def test_a_client_that_closes_is_let_go_at_once(hub: RunningHub) -> None:
    thread = await quiet_thread(hub)
    async with http_interface(hub.core, send_deadline_s=10 * PATIENCE_S) as interface:
        async with socket(interface.http, thread, hub.token(), "ideo.v1") as opened:
            await read_to(opened, 11)
            await opened.close(1001, "bye")
            assert opened.close_code == 1001
        await interface.until_connections(0)
        assert hub.core.broadcaster.readers == 0
        # So is one whose connection just breaks.
        async with socket(interface.http, thread, hub.token(), "ideo.v1") as opened:
            await read_to(opened, 11)
            opened.transport.abort()
            await interface.until_connections(0)
        assert hub.core.broadcaster.readers == 0


@pytest.mark.parametrize("protocol", ["ideo.v1", "ideo.v1.proto", "ideo.legacy"])
async def test_a_client_that_answers_no_ping_is_closed_with_its_cursor(
    hub: RunningHub, protocol: str
) -> None:
    thread = await quiet_thread(hub)
    async with http_interface(hub.core, send_deadline_s=5, ping_s=10 * PATIENCE_S) as interface:
        host, _, port = interface.http.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(upgrade_request(hub.token(), thread, protocol))
        async with asyncio.timeout(PATIENCE_S):
            await reader.readuntil(b"\r\n\r\n")
            while last_seq(await message_of(reader)) != 11:
                pass
            # It has everything: from now on it is pinged.
            (served,) = interface.connections
            served.stop_keepalive()
            served.ping_interval = served.ping_timeout = 0.2
            served.start_keepalive()
            rest = await reader.read()
        writer.close()
        assert rest.endswith(close_frame(4408, "after=11"))
        await interface.until_connections(0)
        assert hub.core.broadcaster.readers == 0
    exposition = generate_latest(hub.core.metrics.registry).decode()
    assert 'slow_readers_closed_total{transport="websocket"} 1.0' in exposition


async def test_a_client_that_answers_pings_stays(hub: RunningHub) -> None:
    thread = await quiet_thread(hub)
    async with http_interface(hub.core, ping_s=0.05) as interface:
        # How long an answer may take: far longer than it takes a client on a busy machine.
        interface.server.config.ws_ping_timeout = PATIENCE_S
        async with socket(interface.http, thread, hub.token(), "ideo.v1", ping_interval=None) as opened:
            await read_to(opened, 11)
            (served,) = interface.connections
            pings: set[bytes | None] = set()

            def answered() -> bool:
                """Whether there were ten pings, each after the answer to the one before, and none is due."""
                pings.add(served.pending_ping_payload)
                return len(pings - {None}) >= 10 and served.pong_timer is None

            await until(answered)
            assert opened.state is State.OPEN


# --- How it closes -----------------------------------------------------------------------------


async def test_a_stopping_hub_sends_its_readers_away_then_closes_with_their_cursor(database: str) -> None:
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running_hub(database, drain_s=0.3))
        thread = await quiet_thread(hub)
        async with (
            socket(hub.http, thread, hub.token()) as seed,
            socket(hub.http, thread, hub.token(), "ideo.v1") as text,
            socket(hub.http, thread, hub.token(), "ideo.v1.proto") as binary,
            socket(hub.http, thread, hub.token(), "ideo.v1", query="?after=7") as late,
        ):
            for each in (seed, text, binary, late):
                await read_to(each, 11)
            stopping = asyncio.create_task(stack.aclose())
            told: dict[str, Any] = json.loads(await text.recv())
            assert 0 <= told["reconnect"]["after_ms"] <= 300
            parsed = refinement_pb2.WatchRefinementResponse.FromString(await binary.recv())  # type: ignore[arg-type]
            assert parsed.WhichOneof("kind") == "reconnect"
            for each in (seed, text, binary, late):
                assert await closed(each) == (1012, "after=11")
            await stopping


async def test_a_fault_of_the_hub_closes_with_the_cursor_and_leaks_nothing(
    hub: RunningHub, thread: str
) -> None:
    # The journal's bytes are spoilt behind the hub's back.
    await change_rows(hub.core.pool, SPOIL_EVENTS, UUID(thread))
    async with socket(hub.http, thread, hub.token(), "ideo.v1") as opened:
        assert "hello" in json.loads(await opened.recv())
        assert await closed(opened) == (1011, "after=0")
    async with socket(hub.http, thread, hub.token()) as opened:
        told = json.loads(await opened.recv())
        assert told["event_type"] == "error"
        assert told["data"]["context"] == "internal"
        assert "hunter2" not in told["data"]["error"]
        assert await closed(opened) == (1011, "after=0")


@pytest.mark.parametrize("pieces", [[b"\xff"], [b"caf\xc3", b"\x28"], [b"\xed\xa0\x80"]])
async def test_text_that_is_not_utf8_ends_the_socket(hub: RunningHub, pieces: list[bytes]) -> None:
    async with socket(hub.http, await quiet_thread(hub), hub.token(), "ideo.v1") as opened:
        await opened.send(pieces, text=True)
        async with asyncio.timeout(PATIENCE_S):
            await opened.wait_closed()
        assert opened.close_code == 1007
