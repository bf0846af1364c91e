"""The rules by which the client follows, with connections as a test scripts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request

from ide_orchestrator.client import Fault, Hub, HubError, NotAuthenticated, Refused, Unavailable, following
from ide_orchestrator.client.hub import Transport
from ide_orchestrator.client.retrying import Backoff, Credentials
from ide_orchestrator.v1.event_pb2 import Event, Terminal
from ide_orchestrator.v1.refinement_pb2 import (
    EventBatch,
    Heartbeat,
    Hello,
    ReadEventResponse,
    WatchRefinementResponse,
)
from ide_orchestrator.v1.refinement_pb2_grpc import (
    RefinementServiceServicer,
    add_RefinementServiceServicer_to_server,
)
from tests.clients.python.hubs import grpc_client_of
from tests.support.servers import http_server, stream_server

HELLO = WatchRefinementResponse(hello=Hello(epoch=1, last_seq=9, floor=1, recovered=True))
HEARTBEAT = WatchRefinementResponse(heartbeat=Heartbeat(last_seq=9))
LOST = Unavailable("cut")


def batch(*seqs: int, last: int = 9) -> WatchRefinementResponse:
    """Events, of which the last one is terminal."""
    made = [Event(seq=seq, terminal=Terminal() if seq == last else None) for seq in seqs]
    return WatchRefinementResponse(batch=EventBatch(events=made))


class Connections:
    """Connections that bring what their scripts say; `cursors` are those with which they were opened."""

    def __init__(self, *scripts: Sequence[WatchRefinementResponse | HubError]) -> None:
        self._scripts, self.cursors = list(scripts), list[int]()

    async def __call__(
        self, after: int, heard: following.Heard
    ) -> AsyncGenerator[WatchRefinementResponse, None]:
        self.cursors.append(after)
        for step in self._scripts.pop(0) if self._scripts else [LOST]:
            if isinstance(step, HubError):
                raise step
            copied = WatchRefinementResponse()
            copied.CopyFrom(step)
            yield copied


async def seqs(
    connections: Connections, after: int = 0, token: str | Callable[[], str] = "token", **options: Any
) -> list[int]:
    """The seqs that a follower gets."""
    credentials = Credentials(token)
    await credentials.token()
    stream = following.watch(connections, after, credentials, backoff=Backoff(0.001, 0.001), **options)
    return [event.seq async for event in following.events_of(stream)]


async def test_events_that_come_again_are_left_out() -> None:
    again = [HELLO, batch(1, 2), batch(2, 3, 4), batch(5, 6, 7, 8, 9)]
    connections = Connections([HELLO, batch(1, 2, 3), LOST], again)
    assert await seqs(connections) == list(range(1, 10))
    assert connections.cursors == [0, 3]


@pytest.mark.parametrize("wrong", [(2, 3), (1, 3), (1, 2, 2), (1, 3, 2)])
async def test_a_missing_event_is_a_fault_and_not_skipped(wrong: tuple[int, ...]) -> None:
    with pytest.raises(Fault, match="was due"):
        await seqs(Connections([HELLO, batch(*wrong)]))


async def test_only_the_first_events_of_a_share_link_may_be_hidden() -> None:
    assert await seqs(Connections([HELLO, batch(8, 9)]), token="ideo_share_x") == [8, 9]
    with pytest.raises(Fault):
        await seqs(Connections([HELLO, batch(6, 7), LOST], [HELLO, batch(9)]), token="ideo_share_x")
    with pytest.raises(Fault):
        await seqs(Connections([HELLO, batch(6, 7), batch(9)]), token="ideo_share_x")


async def test_the_stream_ends_after_the_terminal_event_or_when_nothing_follows() -> None:
    assert await seqs(Connections([HELLO, batch(8, 9), LOST]), after=7) == [8, 9]
    assert await seqs(Connections([HELLO]), after=9) == []


async def test_connections_without_progress_are_counted_and_a_hello_is_none() -> None:
    nothing = Connections(*[[HELLO, LOST]] * 19)
    with pytest.raises(Unavailable, match="20 connections in a row"):
        await seqs(nothing)
    assert len(nothing.cursors) == 20
    alive = Connections(*[[HELLO, HEARTBEAT, LOST]] * 30, [HELLO, batch(*range(1, 10))])
    assert await seqs(alive) == list(range(1, 10))


async def test_a_pause_lasts_as_long_as_the_hub_asks_for() -> None:
    told: list[tuple[str, float]] = []
    connections = Connections([Unavailable("busy", retry_after_s=0.05)], [HELLO, batch(*range(1, 10))])
    await seqs(connections, on_retry=lambda why, pause_s: told.append((str(why), pause_s)))
    assert told == [("busy", 0.05)]


async def test_a_token_is_renewed_once_after_each_progress() -> None:
    old = NotAuthenticated("expired")
    twice = Connections([HELLO, batch(1, 2), old], [HELLO, batch(3), old], [HELLO, batch(*range(4, 10))])
    assert await seqs(twice, token=lambda: "token") == list(range(1, 10))
    refused = Connections([HELLO, batch(1), LOST], [old], [old], [HELLO, batch(*range(2, 10))])
    with pytest.raises(NotAuthenticated):
        await seqs(refused, token=lambda: "token")
    assert refused.cursors == [0, 1, 1]
    with pytest.raises(NotAuthenticated):
        await seqs(Connections([old], [HELLO, batch(*range(1, 10))]), token="not renewable")


async def test_pauses_are_random_parts_of_a_limit_that_doubles() -> None:
    backoff = Backoff(1.0, 8.0)
    rows = []
    for _ in range(200):
        rows.append([backoff.next_pause_s() for _ in range(5)])
        backoff.reset()
    for column, limit in zip(zip(*rows, strict=True), (1, 2, 4, 8, 8), strict=True):
        assert max(column) <= limit
        assert min(column) < limit / 4 < limit * 3 / 4 < max(column)


@pytest.mark.parametrize(
    ("code", "error"),
    [(1009, Refused), (4400, Refused), (4401, NotAuthenticated), (4403, Refused), (4404, Refused)],
)
async def test_a_close_that_is_final_is_raised(code: int, error: type[HubError]) -> None:
    async def close(socket: ServerConnection) -> None:
        await socket.send(HELLO.SerializeToString())
        await socket.close(code, "because")

    async with _only_protobuf(close) as url, Hub(url, "token", trust_env=False) as hub:
        with pytest.raises(error, match=f"{code}.*because"):
            await _read(hub)


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 3000, 4408, 4999])
async def test_a_client_goes_on_after_any_other_close(code: int) -> None:
    begun: list[str] = []

    async def close_once(socket: ServerConnection) -> None:
        assert socket.request is not None
        begun.append(socket.request.path.rpartition("after=")[2])
        await socket.send(HELLO.SerializeToString())
        rest = range(1, 5) if len(begun) == 1 else range(5, 10)
        await socket.send(batch(*rest).SerializeToString())
        if len(begun) == 1:
            await socket.close(code)

    async with _only_protobuf(close_once) as url, Hub(url, "token", trust_env=False) as hub:
        assert await _read(hub) == list(range(1, 10))
    assert begun == ["0", "4"]


async def test_a_connection_that_breaks_before_its_handshake_is_made_again() -> None:
    broken: list[int] = []

    async def handshake(socket: ServerConnection, _request: Request) -> None:
        broken.append(len(broken))
        if len(broken) < 3:
            socket.transport.abort()

    async def send(socket: ServerConnection) -> None:
        await socket.send(batch(*range(1, 10)).SerializeToString())

    async with (
        stream_server(send, refuse=handshake, subprotocol="ideo.v1.proto") as url,
        Hub(url, "token", trust_env=False) as hub,
    ):
        assert await _read(hub) == list(range(1, 10))
    assert len(broken) == 3


SLOWLY_S, PARTS = 0.1, 15


async def slowly(data: bytes) -> AsyncGenerator[bytes, None]:
    """The data in parts, which take longer than a hub that the tests below follow is silent."""
    size = len(data) // PARTS
    for at in range(0, len(data), size):
        await asyncio.sleep(SLOWLY_S)
        yield data[at : at + size]


async def test_a_large_event_may_take_longer_than_a_hub_is_silent() -> None:
    message = WatchRefinementResponse(
        batch=EventBatch(events=[Event(seq=1, terminal=Terminal(message="x" * 1000))])
    )

    async def send(socket: ServerConnection) -> None:
        await socket.send(slowly(message.SerializeToString()))

    async with _only_protobuf(send) as url, Hub(url, "token", trust_env=False, silence_s=0.6) as hub:
        assert await _read(hub) == [1]

    async def answer_slowly(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        event = f"id: 1\nevent: terminal\ndata: {MessageToJson(message.batch.events[0], indent=None)}\n\n"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        async for part in slowly(event.encode()):
            writer.write(part)
        return b""

    async with http_server(answer_slowly) as url, Hub(url, "token", trust_env=False, silence_s=0.6) as hub:
        assert await _read(hub, "sse") == [1]

    class Slow(RefinementServiceServicer):
        """A hub whose event is read in pieces."""

        async def WatchRefinement(self, request: Any, context: Any) -> AsyncIterator[WatchRefinementResponse]:
            yield WatchRefinementResponse(batch=EventBatch(events=[Event(seq=1, omitted_bytes=1)]))

        async def ReadEvent(self, request: Any, context: Any) -> AsyncIterator[ReadEventResponse]:
            async for part in slowly(message.batch.events[0].SerializeToString()):
                yield ReadEventResponse(data=part)

    def serve(server: Any) -> None:
        add_RefinementServiceServicer_to_server(Slow(), server)

    async with grpc_client_of(serve, silence_s=0.6) as over_grpc:
        assert [event.seq async for event in over_grpc.follow("thread")] == [1]


async def test_a_server_that_is_not_the_hub_is_said_to_be_none() -> None:
    async def chat(socket: ServerConnection) -> None:
        await socket.send("hello")

    async with stream_server(chat) as url, Hub(url, "token", trust_env=False) as hub:
        with pytest.raises(HubError, match="not the hub"):
            await _read(hub)
    async with _only_protobuf(chat) as url, Hub(url, "token", trust_env=False) as hub:
        with pytest.raises(Fault, match="cannot be read"):
            await _read(hub)


async def _read(hub: Hub, transport: Transport = "websocket") -> list[int]:
    thread = "00000000-0000-4000-8000-000000000000"
    return [event.seq async for event in hub.follow(thread, transport=transport)]


def _only_protobuf(script: Callable[[ServerConnection], Any]) -> Any:
    return stream_server(script, subprotocol="ideo.v1.proto")
