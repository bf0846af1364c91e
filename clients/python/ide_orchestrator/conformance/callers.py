"""Each protocol as a caller: it makes the calls that cases name, and gives outcomes that can be compared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ide_orchestrator.client import Hub
from ide_orchestrator.client.grpc import GrpcHub
from ide_orchestrator.conformance.connect_channel import connect_channel
from ide_orchestrator.conformance.grpc_calls import over_grpc, with_grpc_client
from ide_orchestrator.conformance.http_calls import over_http, with_client
from ide_orchestrator.conformance.outcomes import Outcome
from ide_orchestrator.conformance.target import Target

Call = Callable[[str, Mapping[str, Any]], Awaitable[Outcome]]
#: Calls without streams, by protocol; the last three on the HTTP port.
PROTOCOLS = ("rest", "grpc", "connect-json", "connect-proto", "grpc-web")


@asynccontextmanager
async def open_channel(protocol: str, target: Target) -> AsyncIterator[Any]:
    """What stubs call the hub with, over gRPC or on the HTTP port."""
    if protocol == "grpc":
        async with target.open_grpc() as channel:
            yield channel
    else:
        async with connect_channel(target.http, protocol, ssl=target.ssl) as channel:
            yield channel


@asynccontextmanager
async def caller(name: str, target: Target) -> AsyncIterator[Call]:
    """What makes a case's calls over the protocol, with the target's token."""
    if name == "rest":
        async with target.open_http() as http:
            yield lambda call, given: over_http(http, call, given)
    elif name == "client":
        async with Hub(target.http, target.token, ssl=target.ssl, trust_env=False) as client:
            yield lambda call, given: with_client(client, call, given)
    elif name == "client-grpc":
        async with GrpcHub(target.grpc, target.token) as grpc_client:
            yield lambda call, given: with_grpc_client(grpc_client, call, given)
    else:
        async with open_channel(name, target) as channel:
            yield lambda call, given: over_grpc(channel, target.metadata, call, given)
