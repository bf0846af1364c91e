"""A client of the hub's streams over every transport: what a connection brings, raw and decoded.

Ways: `ws-json`, `ws-proto`, `ws-legacy` (WebSocket with a subprotocol, and without one), `sse`, `grpc`,
`connect-json`, `connect-proto`, `grpc-web`, and the long polls `rest` and `grpc-pages`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import grpc.aio
import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

from ide_orchestrator.conformance.connect_channel import connect_channel
from ide_orchestrator.v1 import refinement_pb2
from ide_orchestrator.v1.refinement_pb2_grpc import RefinementServiceStub
from tests.support.hand_clock import PATIENCE_S
from tests.support.stream_items import (
    Completed,
    Event,
    Frame,
    Hello,
    Item,
    decode_json,
    decode_proto,
    decode_sse,
)
from tests.support.tokens import bearer

#: Subprotocols, by way.
SUBPROTOCOLS: dict[str, str | None] = {"ws-json": "ideo.v1", "ws-proto": "ideo.v1.proto", "ws-legacy": None}
#: WatchRefinement on the HTTP port.
CONNECT_WAYS = ("connect-json", "connect-proto", "grpc-web")
WAYS = (*SUBPROTOCOLS, "sse", "grpc", *CONNECT_WAYS, "rest", "grpc-pages")
#: Those that bring typed events.
TYPED_WAYS = tuple(way for way in WAYS if way != "ws-legacy")

#: Close codes and HTTP statuses that tell a client not to come back, and gRPC codes that do not (published
#: table).
FINAL_CLOSES = frozenset({1002, 1003, 1007, 1008, 1009, 1010, 4400, 4403, 4404})
FINAL_STATUSES = frozenset(range(400, 500)) - {408, 429}
RETRYABLE = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "UNKNOWN"}
#: Each call has a connection of its own, as clients on different machines have.
#: Asks for events of any size, which the channel below takes.
WHOLE_EVENTS = 0xFFFFFFFF
_CHANNEL = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", -1),
)


class StreamEnded(Exception):
    """A stream ended before its last event. final: the hub said not to come back."""

    def __init__(self, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.final = final


class Address(Protocol):
    """Where a hub is: `http://HOST:PORT`, and `HOST:PORT` of its gRPC interface."""

    @property
    def http(self) -> str: ...
    @property
    def grpc(self) -> str: ...


async def socket_messages(
    url: str, token: str = "", subprotocol: str | None = None, **options: Any
) -> AsyncGenerator[str | bytes, None]:
    """The messages of a WebSocket until it is closed properly. Raises ConnectionClosed."""
    async with connect(
        f"ws{url.removeprefix('http')}",
        additional_headers=bearer(token),
        subprotocols=[subprotocol] if subprotocol else None,  # type: ignore[list-item]
        compression=None,
        max_size=None,
        proxy=None,
        **{"open_timeout": PATIENCE_S} | options,
    ) as socket:
        assert socket.subprotocol == subprotocol
        async for message in socket:
            yield message
        if socket.close_code != 1000:
            assert socket.protocol.close_exc is not None
            raise socket.protocol.close_exc


async def grpc_messages(
    channel: grpc.aio.Channel, token: str, thread_id: str, after: int = 0
) -> AsyncGenerator[bytes, None]:
    """The messages of WatchRefinement, not parsed."""
    request = refinement_pb2.WatchRefinementRequest(
        thread_id=thread_id, after_seq=after, max_event_bytes=WHOLE_EVENTS
    )
    watch: Any = channel.unary_stream("/ide_orchestrator.v1.RefinementService/WatchRefinement")
    call = watch(request.SerializeToString(), metadata=(("authorization", f"Bearer {token}"),))
    try:
        async for message in call:
            yield message
    finally:
        call.cancel()


@dataclass(frozen=True, slots=True)
class Client:
    """Streams of one hub for one token. quiet_s: a connection on which nothing comes for so long has ended.
    page: events in a page of a long poll at most, which waits `wait_s` for the first."""

    address: Address
    token: str
    quiet_s: float = 40.0
    page: int = 1000
    wait_s: int = 5

    async def follow(self, way: str, thread_id: str, after: int = 0) -> AsyncGenerator[Item, None]:
        """What one connection brings after the cursor. Raises StreamEnded, OSError, httpx.HTTPError."""
        stream = {"sse": self._sse, "grpc": self._grpc, "rest": self._rest, "grpc-pages": self._grpc_pages}
        if way in CONNECT_WAYS:
            opened = self._connect(way, thread_id, after)
        else:
            opened = stream[way](thread_id, after) if way in stream else self._socket(way, thread_id, after)
        try:
            async with aclosing(opened):
                async for item in opened:
                    yield item
        except InvalidStatus as refused:
            status = refused.response.status_code
            raise StreamEnded(f"HTTP {status}", final=status in FINAL_STATUSES) from None
        except httpx.HTTPStatusError as refused:
            status = refused.response.status_code
            raise StreamEnded(f"HTTP {status}", final=status in FINAL_STATUSES) from None
        except (InvalidHandshake, InvalidMessage, EOFError) as error:
            raise StreamEnded(type(error).__name__) from None
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            raise StreamEnded(f"closed {code}", final=code in FINAL_CLOSES) from None
        except grpc.aio.AioRpcError as error:
            name = error.code().name
            raise StreamEnded(f"gRPC {name}", final=name not in RETRYABLE) from None

    async def _socket(self, way: str, thread_id: str, after: int) -> AsyncGenerator[Item, None]:
        messages = socket_messages(
            f"{self.address.http}/api/ws/refinements/{thread_id}?after={after}&max_message_bytes=0",
            self.token,
            SUBPROTOCOLS[way],
            open_timeout=self.quiet_s,
            ping_interval=2,
            ping_timeout=self.quiet_s,
            close_timeout=0.5,
        )
        async with aclosing(messages):
            async for message in messages:
                if isinstance(message, bytes):
                    items = decode_proto(message)
                elif way == "ws-json":
                    items = decode_json(json.loads(message))
                else:
                    frame = json.loads(message)
                    # An error frame of the hub's own has no seq: the `end` after it has.
                    items = iter([Frame(frame)] if "seq" in frame else [])
                for item in items:
                    yield item
        if way == "ws-legacy":
            yield Completed()

    def _http(self, accept: str) -> httpx.AsyncClient:
        headers = bearer(self.token) | {"Accept": accept}
        # There is no TLS over HTTP here, and to read the authorities takes longer than a page.
        return httpx.AsyncClient(
            base_url=self.address.http, headers=headers, timeout=self.quiet_s, trust_env=False, verify=False
        )

    async def _rest(self, thread_id: str, after: int) -> AsyncGenerator[Item, None]:
        async with self._http("application/json") as http:
            while True:
                query = {"after": after, "limit": self.page, "wait": self.wait_s}
                answer = await http.get(f"/api/refinements/{thread_id}/events", params=query)
                page = answer.raise_for_status().json()
                for event in page["items"]:
                    yield Event(event)
                if page["complete"]:
                    return
                after = page["next_cursor"]
                yield None

    async def _sse(self, thread_id: str, after: int) -> AsyncGenerator[Item, None]:
        async with (
            self._http("text/event-stream") as http,
            http.stream("GET", f"/api/refinements/{thread_id}/events", params={"after": after}) as answer,
        ):
            answer.raise_for_status()
            fields: dict[str, str] = {}
            rest = b""
            async for chunk in answer.aiter_raw():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    name, _, value = line.decode().partition(": ")
                    if name:
                        fields[name] = value
                        continue
                    yield decode_sse(fields)
                    fields = {}

    async def _grpc(self, thread_id: str, after: int) -> AsyncGenerator[Item, None]:
        async with (
            grpc.aio.insecure_channel(self.address.grpc, options=_CHANNEL) as channel,
            aclosing(grpc_messages(channel, self.token, thread_id, after)) as messages,
        ):
            async for message in messages:
                for item in decode_proto(message):
                    yield item

    async def _connect(self, way: str, thread_id: str, after: int) -> AsyncGenerator[Item, None]:
        async with connect_channel(self.address.http, way, quiet_s=self.quiet_s) as channel:
            watch = RefinementServiceStub(channel).WatchRefinement
            request = refinement_pb2.WatchRefinementRequest(
                thread_id=thread_id, after_seq=after, max_event_bytes=WHOLE_EVENTS
            )
            watched: Any = watch(request, metadata=(("authorization", f"Bearer {self.token}"),))
            async with aclosing(watched) as messages:
                async for message in messages:
                    for item in decode_proto(message.SerializeToString()):
                        yield item

    async def _grpc_pages(self, thread_id: str, after: int) -> AsyncGenerator[Item, None]:
        metadata = (("authorization", f"Bearer {self.token}"),)
        async with grpc.aio.insecure_channel(self.address.grpc, options=_CHANNEL) as channel:
            read = RefinementServiceStub(channel).ListEvents
            while True:
                request = refinement_pb2.ListEventsRequest(
                    thread_id=thread_id,
                    after_seq=after,
                    limit=self.page,
                    wait_seconds=self.wait_s,
                    max_event_bytes=WHOLE_EVENTS,
                )
                page = await read(request, metadata=metadata, timeout=self.quiet_s)
                for event in page.events:
                    after = event.seq
                    yield Event(event)
                if page.complete:
                    return
                yield None


async def events(
    way: str, address: Address, token: str, thread_id: str, after: int = 0
) -> AsyncGenerator[dict[str, Any], None]:
    """The thread's events after the cursor as proto-JSON, or its legacy frames, over one connection up to the
    last; a stream of typed events begins with one greeting."""
    client = Client(address, token, page=40, wait_s=20)
    greets = way not in ("rest", "grpc-pages", "ws-legacy")
    first = True
    async with aclosing(client.follow(way, thread_id, after)) as items:
        async for item in items:
            assert isinstance(item, Hello) == (first and greets)
            first = False
            if isinstance(item, Event):
                yield item.json
            elif isinstance(item, Frame):
                yield item.value
