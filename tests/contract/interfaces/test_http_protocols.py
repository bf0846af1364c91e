"""What `server.http.websocket_protocol` builds on in uvicorn, and what its protocols do on raw sockets."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.protocols.websockets import websockets_sansio_impl
from websockets.exceptions import ConnectionClosed

from server.http import websocket_protocol
from server.http.http_protocol import HubHttpProtocol
from server.http.request_head import MAX_HEAD_BYTES
from server.http.websocket_protocol import HubSocketProtocol
from tests.support.hand_clock import PATIENCE_S, until
from tests.support.http_interface import HttpInterface, http_interface, socket, upgrade
from tests.support.hub import RunningHub, running_hub, start
from tests.support.paced_runtime import PacedRuntime
from tests.support.runtime import serve_runtime

#: The modules as they were when server/http/websocket_protocol.py was last compared with them. After an
#: upgrade: read what changed, see that each method still does what it says, and put the new digest here.
READ: list[tuple[ModuleType, str]] = [
    (httptools_impl, "1d4e1c579df41684"),
    (websockets_sansio_impl, "8b32a97a1608788b"),
    (flow_control, "d39d16560df512f3"),
]

#: Methods that uvicorn does not have.
OWN = {
    "_open_and_follow",
    "_refuse_upgrade",
    "_refuse_flood",
    "_expect_within",
    "_read",
    "_drop_in_turn",
    "_go_on_dropping",
    "_enter",
    "_hold",
    "_take_held",
    "_give_up_answer",
    "_refuse_for_now",
    "_arrived",
    "_too_slow",
    "_too_many",
    "_cut_off",
    "_refuse",
    "_look_again",
    "_check_unsent",
    "make_room",
    "begin",
    "refuse",
}


@pytest.fixture
async def interface(hub: RunningHub) -> AsyncIterator[HttpInterface]:
    async with http_interface(hub.core) as opened:
        yield opened


@pytest.mark.parametrize(("module", "digest"), READ, ids=lambda value: getattr(value, "__name__", ""))
def test_uvicorns_protocols_are_the_ones_that_were_read(module: ModuleType, digest: str) -> None:
    assert hashlib.sha256(inspect.getsource(module).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("ours", [HubSocketProtocol, HubHttpProtocol])
def test_each_method_that_is_overridden_is_there_and_takes_the_same(ours: type) -> None:
    (base,) = ours.__bases__
    for name, method in vars(ours).items():
        if not inspect.isfunction(method):
            continue
        if name in OWN:
            assert not hasattr(base, name)
            continue
        parameters = list(inspect.signature(method).parameters)
        assert list(inspect.signature(getattr(base, name)).parameters) == parameters, name


async def test_what_is_used_of_uvicorns_connections_is_there(
    hub: RunningHub, interface: HttpInterface
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run silent=10]]")
    async with socket(interface.http, started["thread_id"], hub.token(), "ideo.v1") as opened:
        await opened.recv()
        (served,) = interface.connections
        assert isinstance(served, HubSocketProtocol)
        assert isinstance(served.writable, asyncio.Event)
        assert served.logger is websocket_protocol._quiet
        assert served.close_timeout == websocket_protocol.CLOSE_TIMEOUT_S
        assert (served.handshake_complete, served.disconnected, served.close_timer) == (True, False, None)
        # Of the request nothing is kept.
        assert not {"scope", "request", "response"} & vars(served).keys()
        assert served.conn.close_sent is None
        assert served.frames == []


async def raw(interface: HttpInterface, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send the pieces; the answer's status, headers and body, once the server has closed."""
    host, _, port = interface.http.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
    except ConnectionError:
        return 0, {}, b""
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body


def big(size: int) -> bytes:
    return b"x" * size


@pytest.mark.parametrize(
    "pieces",
    [
        (b"nonsense\r\n\r\n",),
        (b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n",),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",),
        (b"GET / HTTP/1.1\r\nX: " + big(MAX_HEAD_BYTES) + b"\r\n\r\n",),
        (b"GET /" + big(MAX_HEAD_BYTES) + b" HTTP/1.1\r\n\r\n",),
        (b"GET / HTTP/1.1\r\n", *[b"X%d: " % n + big(1000) + b"\r\n" for n in range(40)], b"\r\n"),
    ],
    ids=["nonsense", "header name", "two lengths", "length and chunks", "header", "target", "many headers"],
)
async def test_invalid_http_is_answered_with_a_problem_and_closed(
    interface: HttpInterface, pieces: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    status, headers, body = await raw(interface, *pieces)
    assert status == 400
    # Strangers could fill the log.
    assert not caplog.records
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    told = json.loads(body)
    assert (told["status"], told["code"]) == (400, "invalid_argument")
    assert b"xxxx" not in body


async def test_a_head_that_never_ends_is_bounded(interface: HttpInterface) -> None:
    status, _, _ = await raw(interface, b"GET / HTTP/1.1\r\n", *[b"X: " + big(4000) + b"\r\n"] * 200)
    # The answer may be lost to a reset, because the server does not read on.
    assert status in (400, 0)
    await interface.until_connections(0)


async def test_an_upgrade_that_only_the_sockets_parser_refuses_is_answered_with_a_problem(
    hub: RunningHub, interface: HttpInterface
) -> None:
    path = f"/api/ws/refinements/00000000-0000-4000-8000-000000000000?token={hub.token()}"
    for headers in ({"X-Long": "x" * 10_000}, {f"X-{n}": "x" for n in range(200)}):
        status, told, problem = await upgrade(interface.http, path, headers)
        assert (status, problem.get("code")) == (400, "invalid_argument")
        assert told["connection"] == "close"
    await interface.until_connections(0)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x02hi", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\xc1\x80\0\0\0\0", 1002),
        (b"\x89\xfe\x00\x7e\0\0\0\0" + big(126), 1002),
        (b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0", None),
    ],
    ids=["not masked", "unknown opcode", "reserved bit", "long ping", "huge length"],
)
async def test_who_breaks_the_protocol_of_sockets_is_closed(
    hub: RunningHub, interface: HttpInterface, frame: bytes, code: int | None
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run silent=10]]")
    async with socket(interface.http, started["thread_id"], hub.token(), "ideo.v1") as opened:
        await opened.recv()
        opened.transport.write(frame)
        with suppress(ConnectionClosed):
            async with asyncio.timeout(PATIENCE_S):
                async for _ in opened:
                    pass
        assert opened.close_code in ((code,) if code else (1002, 1009))
    await interface.until_connections(0)
    assert hub.core.broadcaster.readers == 0


def one_message(data: bytes) -> bool:
    """Whether the bytes are those of one frame."""
    size = data[1]
    if size < 126:
        return len(data) == 2 + size
    if size == 126:
        return len(data) == 4 + int.from_bytes(data[2:4])
    return len(data) == 10 + int.from_bytes(data[2:10])


async def test_the_same_bytes_are_written_to_every_follower(database: str) -> None:
    """A message's bytes are made once; only messages that went out together were joined for one."""

    class Tap:
        """A transport that keeps what it is given: all of it, since nothing but a transport writes to the
        socket of one with TLS."""

        def __init__(self, transport: Any, written: list[bytes]) -> None:
            self._transport, self._written = transport, written

        def write(self, data: bytes) -> None:
            self._written.append(data)
            self._transport.write(data)

        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return "TLS" if name == "sslcontext" else self._transport.get_extra_info(name, default)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._transport, name)

    written: list[list[bytes]] = []

    class Tapped(HubSocketProtocol):
        def connection_made(self, transport: Any) -> None:
            written.append([])
            super().connection_made(Tap(transport, written[-1]))  # type: ignore[arg-type]

    runtime = PacedRuntime("short_run")
    async with (
        serve_runtime(runtime) as url,
        running_hub(database, runtime_url=url) as hub,
        http_interface(hub.core, socket_protocol=Tapped) as interface,
        hub.client() as client,
    ):
        for offered in ((), ("ideo.v1",), ("ideo.v1.proto",)):
            written.clear()
            runtime.release(0)
            thread = (await start(client, "x"))["thread_id"]
            received = [0, 0, 0]

            async def read(
                number: int,
                offered: tuple[str, ...] = offered,
                thread: str = thread,
                received: list[int] = received,
            ) -> None:
                async with socket(interface.http, thread, hub.token(), *offered) as opened:
                    async for _ in opened:
                        received[number] += 1

            reading = asyncio.gather(*map(read, range(3)))
            begun: list[int] = []
            for count in range(1, 21):
                before = list(received)
                runtime.release_first(count)
                await until(partial(_all_went_on, received, before))
                if count == 5:
                    # Before it is at the live end, each reads from the journal on its own.
                    begun = list(map(len, written))
            live = [[*filter(one_message, each[at:])] for each, at in zip(written, begun, strict=True)]
            await client.call("POST", f"/api/refinements/{thread}/cancel")
            await reading
            common = set(live[0]).intersection(*live[1:])
            assert len(common) > 5
            for content in common:
                first, *others = [data for each in live for data in each if data == content]
                assert all(data is first for data in others)


def _all_went_on(received: list[int], before: list[int]) -> bool:
    return all(now > then for now, then in zip(received, before, strict=True))
