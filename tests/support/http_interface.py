"""The HTTP interface with times of its own, WebSockets opened the usual way and by hand, and refusals."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from server.connect.app import ConnectApp
from server.domain.readiness import Readiness
from server.http.app import create_http_app
from server.http.listener import listening_socket
from server.http.options import HttpOptions
from server.http.origins import Origins
from server.http.probes import Probes
from server.http.request_throttle import RequestThrottle
from server.http.server import uvicorn_config
from server.lifecycle import Core
from tests.support.hand_clock import PATIENCE_S, until
from tests.support.servers import uvicorn_server
from tests.support.tokens import bearer

ORIGIN = "https://ide.bizmatters.com"


async def _ready() -> Readiness:
    return Readiness()


async def _no_metrics() -> tuple[bytes, str]:
    return b"", "text/plain"


@dataclass
class HttpInterface:
    """A serving HTTP interface over a hub's core."""

    server: uvicorn.Server
    http: str

    @property
    def connections(self) -> list[Any]:
        """The server's connections (uvicorn's protocols)."""
        return list(self.server.server_state.connections)

    async def until_connections(self, count: int, *, within_s: float = PATIENCE_S) -> None:
        """Wait until there are so many connections, and as many calls under way at most."""
        state = self.server.server_state
        await until(lambda: len(state.connections) == count and len(state.tasks) <= count, within_s=within_s)


@asynccontextmanager
async def http_interface(
    core: Core, *, socket_protocol: type[Any] | None = None, **times: Any
) -> AsyncIterator[HttpInterface]:
    """A second HTTP interface over the hub's core, with times of its own (`uvicorn_config`)."""
    throttle = RequestThrottle(core.cut_offs)
    app = create_http_app(
        core,
        Probes(_ready, _no_metrics),
        HttpOptions(Origins((ORIGIN,)), query_token=True),
        throttle=throttle,
        services=ConnectApp(core, throttle),
    )
    config = uvicorn_config(app, drain_s=2, **times)
    if socket_protocol is not None:
        config.ws = socket_protocol
    async with uvicorn_server(config, listening_socket("127.0.0.1", 0)) as (server, address):
        yield HttpInterface(server, address)


def small_socket(interface: HttpInterface) -> sockets.socket:
    """A connected socket that holds little."""
    host, _, port = interface.http.removeprefix("http://").rpartition(":")
    made = sockets.socket()
    made.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 8192)
    made.connect((host, int(port)))
    made.setblocking(False)
    return made


def socket_address(http: str, thread_id: str, query: str = "") -> str:
    """The WebSocket address of a thread."""
    return "ws" + http.removeprefix("http") + f"/api/ws/refinements/{thread_id}{query}"


@asynccontextmanager
async def socket(
    http: str, thread_id: str, token: str | None, *protocols: str, query: str = "", **options: Any
) -> AsyncIterator[ClientConnection]:
    """An open WebSocket; the token goes into the `Authorization` header."""
    async with connect(
        socket_address(http, thread_id, query),
        additional_headers=bearer(token or ""),
        subprotocols=list(protocols) or None,  # type: ignore[arg-type]
        max_size=None,
        proxy=None,
        **{"open_timeout": PATIENCE_S, "ping_timeout": PATIENCE_S} | options,
    ) as opened:
        yield opened


def upgrade_request(token: str, thread: str, protocol: str) -> bytes:
    """The bytes of an upgrade request, with the token in the `Authorization` header."""
    return (
        f"GET /api/ws/refinements/{thread} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Protocol: {protocol}\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()


async def upgrade(
    http: str, path: str, headers: Mapping[str, str]
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Ask for an upgrade; the answer's status, headers and problem, empty if it is none."""
    host, _, port = http.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    asked = {
        "Host": f"{host}:{port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    } | dict(headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in asked.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
    raw = (await reader.readuntil(b"\r\n\r\n")).decode()
    status, *lines = raw.strip().split("\r\n")
    found = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    code = int(status.split()[1])
    body = await reader.readexactly(int(found.get("content-length", "0"))) if code != 101 else b""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    is_problem = found.get("content-type") == "application/problem+json"
    return code, found, json.loads(body) if is_problem else {}


def problem(answer: httpx.Response) -> dict[str, Any]:
    """The problem of a refusal, with the members that each has."""
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body.keys() >= {"type", "title", "status", "detail", "instance", "code", "trace_id", "error"}
    assert body["status"] == answer.status_code
    assert body["instance"] == answer.request.url.path
    assert len(body["trace_id"]) == 32
    return body
