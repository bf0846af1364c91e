"""Clients of a hub in the test's process, and its streams over every transport."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc.aio
from google.protobuf.json_format import MessageToDict

from ide_orchestrator.client import Event, Hub
from ide_orchestrator.client.grpc import GrpcHub
from ide_orchestrator.client.retrying import Token
from ide_orchestrator.v1.refinement_pb2 import WatchRefinementResponse
from tests.support.client import Address

#: The ways to follow: the transports of `Hub`, and `GrpcHub`.
WAYS = ("websocket", "websocket-json", "sse", "grpc")


class Through:
    """Both interfaces at one port: that of a proxy in front of one of them."""

    def __init__(self, place: object) -> None:
        self.http, self.grpc = f"http://127.0.0.1:{place}", f"127.0.0.1:{place}"


@asynccontextmanager
async def open_hub(address: Address, token: Token, **options: Any) -> AsyncIterator[Hub]:
    """A client over HTTP, which uses no proxies of this machine."""
    async with Hub(address.http, token, trust_env=False, **options) as hub:
        yield hub


@asynccontextmanager
async def grpc_client_of(add: Callable[[grpc.aio.Server], None], **options: Any) -> AsyncIterator[GrpcHub]:
    """A client of a server that is not a hub. add: gives the server its services. options: of the client."""
    server = grpc.aio.server()
    add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with GrpcHub(f"127.0.0.1:{port}", "token", **options) as hub:
            yield hub
    finally:
        await server.stop(None)


@asynccontextmanager
async def open_way(
    way: str, address: Address, token: Token, **options: Any
) -> AsyncIterator[tuple[Hub | GrpcHub, Mapping[str, Any]]]:
    """The client of a way, and the arguments with which it follows."""
    if way == "grpc":
        async with GrpcHub(address.grpc, token, **options) as hub:
            yield hub, {}
    else:
        async with open_hub(address, token, **options) as over_http:
            yield over_http, {"transport": way}


async def followed(
    way: str, address: Address, token: Token, thread_id: str, after: int = 0, **options: Any
) -> AsyncGenerator[Event, None]:
    """The events of a thread."""
    async with (
        open_way(way, address, token, **options) as (hub, how),
        aclosing(hub.follow(thread_id, after, **how)) as events,
    ):
        async for event in events:
            yield event


async def watched(
    way: str, address: Address, token: Token, thread_id: str, after: int = 0, **options: Any
) -> AsyncGenerator[WatchRefinementResponse, None]:
    """The messages of a thread's stream."""
    async with (
        open_way(way, address, token, **options) as (hub, how),
        aclosing(hub.watch(thread_id, after, **how)) as messages,
    ):
        async for message in messages:
            yield message


def as_json(event: Event) -> dict[str, Any]:
    """The event as the HTTP interface gives it."""
    return MessageToDict(event, preserving_proto_field_name=True)
