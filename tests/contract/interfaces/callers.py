"""A user's ways to call a hub, and the interfaces over which the cases of the corpus are tried."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import httpx

from tests.support.client import CONNECT_WAYS
from tests.support.grpc_interface import Caller
from tests.support.hub import RunningHub
from tests.support.tokens import bearer

#: The interfaces with plain calls, with the Python client, and on the HTTP port by Connect and gRPC-Web.
CALLERS = (("rest", "grpc"), ("client", "client-grpc"), CONNECT_WAYS)


@asynccontextmanager
async def both_interfaces(
    hub: RunningHub, email: str = "ann@example.com"
) -> AsyncIterator[tuple[httpx.AsyncClient, Caller]]:
    """A user's ways to call a hub: over HTTP and over gRPC."""
    token = hub.token(email)
    async with (
        httpx.AsyncClient(base_url=hub.http, headers=bearer(token), trust_env=False, timeout=60) as http,
        grpc.aio.insecure_channel(hub.grpc) as channel,
    ):
        yield http, Caller(channel, token)
