"""A recorder: one client of one kind, that comes back with its cursor until it was told the end.

It behaves as the published rules ask of a client: it comes back after what is worth to come back from,
to the next address of its list, and it writes down all it was told. Ways: `rest`, `sse`, `ws-json`,
`ws-proto`, `ws-seed`, `grpc`, `grpc-pages`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc.aio
import httpx
from google.protobuf.json_format import ParseDict
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

from ide_orchestrator.v1 import event_pb2, refinement_pb2, refinement_pb2_grpc
from tests.faults.rig.history import Client, Connection

WAYS = ("ws-json", "ws-proto", "ws-seed", "sse", "grpc", "rest", "grpc-pages")

#: Close codes, HTTP statuses and gRPC codes that tell a client not to come back (published table).
FINAL_CLOSES = frozenset({1002, 1003, 1007, 1008, 1009, 1010, 4400, 4403, 4404})
FINAL_STATUSES = frozenset(range(400, 500)) - {408, 429}
FINAL_CODES = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.DATA_LOSS,
    }
)

#: Seconds between two tries.
RETRY_S = 0.1
#: A connection on which nothing comes for so long is given up: half open, or its server is stopped.
QUIET_S = 12.0


class Left(Exception):
    """A connection ended before the end was told. final: the hub said not to come back."""

    def __init__(self, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.final = final


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica is."""

    http: str
    grpc: str


@dataclass(frozen=True, slots=True)
class Hello:
    """The greeting."""

    last_seq: int


@dataclass(frozen=True, slots=True)
class Told:
    """One unit: seq, canonical digest, and whether it is the last there will be."""

    seq: int
    sha256: str
    last: bool


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The hub is about to go away: come back, after a while."""

    after_ms: int


@dataclass(frozen=True, slots=True)
class Done:
    """The hub closed the stream as complete."""


Item = Hello | Told | Reconnect | Done | None


def event_sha256(event: event_pb2.Event) -> str:
    """The digest of an event's canonical form, the same whatever form it travelled in."""
    return hashlib.sha256(event.SerializeToString(deterministic=True)).hexdigest()


def frame_sha256(frame: dict[str, Any]) -> str:
    """The digest of a frame in the seed's form."""
    return hashlib.sha256(json.dumps(frame, sort_keys=True).encode()).hexdigest()


def _told(event: event_pb2.Event) -> Told:
    return Told(event.seq, event_sha256(event), event.WhichOneof("kind") == "terminal")


def _of_json(event: dict[str, Any]) -> Told:
    return _told(ParseDict(event, event_pb2.Event()))


class Recorder:
    """Follows one thread. `addresses` is asked at each connection, with how many there were before."""

    def __init__(
        self,
        way: str,
        thread_id: str,
        token: str,
        addresses: Callable[[], Sequence[Address]],
        *,
        first: int = 0,
        quiet_s: float = QUIET_S,
    ) -> None:
        self.client = Client(way)
        #: Set once anything was told.
        self.told = asyncio.Event()
        self._thread_id, self._token, self._addresses = thread_id, token, addresses
        self._turn = first
        self._quiet_s = quiet_s
        self._cursor = 0
        ways: dict[str, Callable[[Address, int], AsyncIterator[Item]]] = {
            "rest": self._rest,
            "sse": self._sse,
            "ws-json": self._socket,
            "ws-proto": self._socket,
            "ws-seed": self._socket,
            "grpc": self._grpc,
            "grpc-pages": self._grpc_pages,
        }
        self._open = ways[way]

    @property
    def cursor(self) -> int:
        """The last seq told."""
        return self._cursor

    async def run(self) -> Client:
        """Follow until the end is told, or the hub says not to come back."""
        while not self.client.complete:
            connection = Connection(self._cursor, time.monotonic(), self.client.way == "ws-seed")
            self.client.connections.append(connection)
            addresses = self._addresses()
            try:
                await self._follow(connection, addresses[self._turn % len(addresses)])
                connection.ended = "done" if self.client.complete else "ended early"
            except Left as left:
                connection.ended, connection.refused = str(left), left.final
                if left.final:
                    break
            except (OSError, TimeoutError, httpx.HTTPError) as error:
                connection.ended = type(error).__name__
            if not connection.told and connection.hello is None:
                self.client.connections.pop()  # nothing was told: nothing to check
            if not self.client.complete:
                self._turn += 1
                await asyncio.sleep(RETRY_S)
        return self.client

    async def _follow(self, connection: Connection, address: Address) -> None:
        async with aclosing(self._open(address, self._cursor)) as items:  # type: ignore[type-var]
            leave_at: float | None = None
            while True:
                left_s = self._quiet_s if leave_at is None else max(leave_at - time.monotonic(), 0)
                try:
                    async with asyncio.timeout(left_s):
                        item = await anext(items)
                except StopAsyncIteration:
                    return
                if isinstance(item, Hello):
                    if connection.hello is None:
                        connection.hello = item.last_seq
                elif isinstance(item, Told):
                    connection.told.append((item.seq, item.sha256, time.monotonic()))
                    self._cursor = item.seq
                    self.told.set()
                    self.client.complete = self.client.complete or item.last
                elif isinstance(item, Reconnect):
                    if leave_at is None:
                        leave_at = time.monotonic() + item.after_ms / 1000
                elif isinstance(item, Done):
                    self.client.complete = True

    @property
    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    # --- HTTP ------------------------------------------------------------------------------------

    def _checked(self, answer: httpx.Response) -> None:
        if answer.status_code >= 400:
            raise Left(f"HTTP {answer.status_code}", final=answer.status_code in FINAL_STATUSES)

    async def _rest(self, address: Address, after: int) -> AsyncIterator[Item]:
        async with httpx.AsyncClient(base_url=address.http, headers=self._bearer, trust_env=False) as http:
            while True:
                answer = await http.get(
                    f"/api/refinements/{self._thread_id}/events",
                    params={"after": after, "limit": 1000, "wait": 5},
                    timeout=httpx.Timeout(self._quiet_s, connect=2),
                )
                self._checked(answer)
                page = answer.json()
                for event in page["items"]:
                    yield _of_json(event)
                if page["complete"]:
                    return
                after = page["next_cursor"]
                yield None

    async def _sse(self, address: Address, after: int) -> AsyncIterator[Item]:
        headers = {**self._bearer, "Accept": "text/event-stream"}
        timeout = httpx.Timeout(self._quiet_s, connect=2)
        async with (
            httpx.AsyncClient(
                base_url=address.http, headers=headers, timeout=timeout, trust_env=False
            ) as http,
            http.stream(
                "GET", f"/api/refinements/{self._thread_id}/events", params={"after": after}
            ) as answer,
        ):
            self._checked(answer)
            fields: dict[str, str] = {}
            rest = b""
            async for chunk in answer.aiter_raw():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    name, _, value = line.decode().partition(": ")
                    if name:
                        fields[name] = value
                        continue
                    if fields.get("event") == "hello":
                        yield Hello(int(json.loads(fields["data"]).get("last_seq", 0)))
                    elif fields.get("event") == "reconnect":
                        yield Reconnect(int(json.loads(fields["data"]).get("after_ms", 0)))
                    elif fields.get("event") not in ("heartbeat", None):
                        yield _of_json(json.loads(fields["data"]))
                    else:
                        yield None
                    fields = {}

    # --- WebSocket -------------------------------------------------------------------------------

    async def _socket(self, address: Address, after: int) -> AsyncIterator[Item]:
        way = self.client.way
        protocols: Any = {"ws-json": ["ideo.v1"], "ws-proto": ["ideo.v1.proto"], "ws-seed": None}[way]
        url = f"ws{address.http.removeprefix('http')}/api/ws/refinements/{self._thread_id}?after={after}"
        try:
            async with connect(
                url,
                additional_headers=self._bearer,
                subprotocols=protocols,
                max_size=None,
                proxy=None,
                compression=None,
                open_timeout=self._quiet_s,
                ping_interval=2,
                ping_timeout=self._quiet_s,
                close_timeout=0.5,
            ) as socket:
                if way == "ws-seed":
                    async for item in _frames(socket):
                        yield item
                    return
                async for message in socket:
                    for item in _units(way, message):
                        yield item
        except InvalidStatus as refused:
            status = refused.response.status_code
            raise Left(f"HTTP {status}", final=status in FINAL_STATUSES) from None
        except (InvalidHandshake, InvalidMessage, EOFError) as error:
            raise Left(type(error).__name__) from None
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            raise Left(f"closed {code}", final=code in FINAL_CLOSES) from None

    # --- gRPC ------------------------------------------------------------------------------------

    async def _grpc(self, address: Address, after: int) -> AsyncIterator[Item]:
        metadata = (("authorization", f"Bearer {self._token}"),)
        request = refinement_pb2.WatchRefinementRequest(thread_id=self._thread_id, after_seq=after)
        async with grpc.aio.insecure_channel(address.grpc, options=_CHANNEL) as channel:
            call = refinement_pb2_grpc.RefinementServiceStub(channel).WatchRefinement(
                request, metadata=metadata
            )
            try:
                async for message in call:
                    for item in _of_response(message):
                        yield item
            except grpc.aio.AioRpcError as error:
                raise Left(f"gRPC {error.code().name}", final=error.code() in FINAL_CODES) from None
            finally:
                call.cancel()

    async def _grpc_pages(self, address: Address, after: int) -> AsyncIterator[Item]:
        metadata = (("authorization", f"Bearer {self._token}"),)
        async with grpc.aio.insecure_channel(address.grpc, options=_CHANNEL) as channel:
            stub = refinement_pb2_grpc.RefinementServiceStub(channel)
            while True:
                request = refinement_pb2.ListEventsRequest(
                    thread_id=self._thread_id, after_seq=after, limit=1000, wait_seconds=5
                )
                try:
                    page = await stub.ListEvents(request, metadata=metadata, timeout=self._quiet_s)
                except grpc.aio.AioRpcError as error:
                    raise Left(f"gRPC {error.code().name}", final=error.code() in FINAL_CODES) from None
                for event in page.events:
                    after = event.seq
                    yield _told(event)
                if page.complete:
                    return
                yield None


#: Each recorder has connections of its own, as clients on different machines have.
_CHANNEL = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", -1),
)


def _units(way: str, message: str | bytes) -> list[Item]:
    if way == "ws-proto":
        assert isinstance(message, bytes)
        return _of_response(refinement_pb2.WatchRefinementResponse.FromString(message))
    told = json.loads(message)
    if "hello" in told:
        return [Hello(int(told["hello"].get("last_seq", 0)))]
    if "reconnect" in told:
        return [Reconnect(int(told["reconnect"].get("after_ms", 0)))]
    return [_of_json(event) for event in told.get("batch", {}).get("events", ())] or [None]


def _of_response(message: refinement_pb2.WatchRefinementResponse) -> list[Item]:
    if message.WhichOneof("kind") == "hello":
        return [Hello(message.hello.last_seq)]
    if message.WhichOneof("kind") == "reconnect":
        return [Reconnect(message.reconnect.after_ms)]
    return [_told(event) for event in message.batch.events] or [None]


async def _frames(socket: Any) -> AsyncIterator[Item]:
    """The seed's frames. The hub tells `end` for the end alone; a proper close says the same."""
    async for message in socket:
        frame = json.loads(message)
        if "seq" in frame:
            yield Told(frame["seq"], frame_sha256(frame), frame.get("event_type") == "end")
    if socket.close_code == 1000:
        yield Done()
