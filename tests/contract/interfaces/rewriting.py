"""A proxy that knows the protocols of a hub, and may change what passes: messages of WebSockets and of gRPC,
server-sent events, envelopes of Connect, and whole answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ide_orchestrator.conformance.connect_channel import enveloped, envelopes
from tests.support.servers import asgi_server

_HOP = {"connection", "transfer-encoding", "content-length", "date", "server", "host", "accept-encoding"}
_CHANNEL = (("grpc.max_receive_message_length", -1),)


class Changes:
    """What passes, and what becomes of it. As it is, nothing changes.

    A unit's `kind` is `ws` (a message of a WebSocket), `sse` (an event, without its blank line), `envelope`
    (a message of a Connect or gRPC-Web stream), `body` (of any other answer) or `grpc`.
    """

    def request(self, path: str, headers: dict[str, str]) -> str:
        """The path with its query; headers may be changed, those of gRPC's metadata too."""
        return path

    def head(self, path: str, status: int, headers: dict[str, str]) -> int:
        """The status of an answer; headers may be changed."""
        return status

    def unit(self, kind: str, path: str, unit: bytes) -> Iterable[bytes]:
        """What is passed on for a unit."""
        return (unit,)

    def close(self, path: str, code: int) -> int | None:
        """The code with which a WebSocket is closed; None: it stays open."""
        return code

    def status(self, path: str, code: grpc.StatusCode) -> grpc.StatusCode:
        """The status of a call over gRPC that failed."""
        return code


@dataclass(frozen=True)
class Rewritten:
    """Where the proxy is: as a hub's addresses."""

    http: str
    grpc: str


@asynccontextmanager
async def rewriting_proxy(hub_http: str, hub_grpc: str, changes: Changes) -> AsyncIterator[Rewritten]:
    """A proxy before a hub, for HTTP and for gRPC."""
    async with (
        httpx.AsyncClient(base_url=hub_http, timeout=60, trust_env=False, verify=False) as http,
        grpc.aio.insecure_channel(hub_grpc, options=_CHANNEL) as channel,
        asgi_server(_Http(http, changes)) as address,
    ):
        server = grpc.aio.server(options=_CHANNEL)
        server.add_generic_rpc_handlers((_Grpc(channel, changes),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield Rewritten(address, f"127.0.0.1:{port}")
        finally:
            await server.stop(0)


class _Http:
    """The proxy's part for HTTP, as an ASGI app."""

    def __init__(self, http: httpx.AsyncClient, changes: Changes) -> None:
        self._http, self._changes = http, changes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        headers = {name: value for name, value in headers.items() if name not in _HOP}
        query = scope["query_string"].decode()
        path = self._changes.request(scope["path"] + (f"?{query}" if query else ""), headers)
        if scope["type"] == "websocket":
            await self._socket(path, headers, scope["subprotocols"], receive, send)
        else:
            await self._answer(scope["method"], path, headers, receive, send)

    async def _answer(self, method: str, path: str, headers: dict[str, str], receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        async with self._http.stream(method, path, headers=headers, content=body) as answer:
            told = {name: value for name, value in answer.headers.items() if name not in _HOP}
            status = self._changes.head(path, answer.status_code, told)
            start = [(name.encode(), value.encode()) for name, value in told.items()]
            await send({"type": "http.response.start", "status": status, "headers": start})
            if method != "HEAD" and status not in (204, 304):
                async for part in self._parts(path, told.get("content-type", ""), answer):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    async def _parts(self, path: str, kind: str, answer: httpx.Response) -> AsyncIterator[bytes]:
        rest = b""
        if kind.startswith("text/event-stream"):
            async for chunk in answer.aiter_raw():
                *blocks, rest = (rest + chunk).split(b"\n\n")
                for block in blocks:
                    for unit in self._changes.unit("sse", path, block):
                        yield unit + b"\n\n"
        elif kind.startswith(("application/connect+", "application/grpc-web+proto")):
            async for chunk in answer.aiter_raw():
                found, rest = envelopes(rest + chunk)
                for flags, message in found:
                    for unit in (message,) if flags else self._changes.unit("envelope", path, message):
                        yield enveloped(unit, flags)
        else:
            for unit in self._changes.unit("body", path, await answer.aread()):
                yield unit

    async def _socket(
        self, path: str, headers: dict[str, str], offered: list[str], receive: Any, send: Any
    ) -> None:
        assert (await receive())["type"] == "websocket.connect"
        passed = {name: value for name, value in headers.items() if name == "authorization"}
        url = f"ws{str(self._http.base_url).removeprefix('http').rstrip('/')}{path}"
        options: Any = {"additional_headers": passed, "subprotocols": offered or None}
        try:
            async with connect(url, **options, max_size=None, compression=None, proxy=None) as hub:
                await send({"type": "websocket.accept", "subprotocol": hub.subprotocol})
                try:
                    async for message in hub:
                        data = message.encode() if isinstance(message, str) else message
                        for unit in self._changes.unit("ws", path, data):
                            form = {"text": unit.decode()} if isinstance(message, str) else {"bytes": unit}
                            await send({"type": "websocket.send", **form})
                except ConnectionClosed:
                    pass
                code = self._changes.close(path, hub.close_code or 1006)
            if code is None:
                await receive()  # until the client goes
            else:
                await send({"type": "websocket.close", "code": code})
        except InvalidStatus as refused:
            answer = refused.response
            told = {k: v for k, v in answer.headers.raw_items() if k.lower() not in _HOP}
            status = self._changes.head(path, answer.status_code, told)
            start = [(name.lower().encode(), value.encode()) for name, value in told.items()]
            await send({"type": "websocket.http.response.start", "status": status, "headers": start})
            body = b"".join(self._changes.unit("body", path, bytes(answer.body or b"")))
            await send({"type": "websocket.http.response.body", "body": body})


class _Grpc(grpc.GenericRpcHandler):
    """The proxy's part for gRPC: each method as a stream; of a call without one it has one message."""

    def __init__(self, channel: grpc.aio.Channel, changes: Changes) -> None:
        self._channel, self._changes = channel, changes

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        path = details.method

        async def handle(request: bytes, context: Any) -> AsyncIterator[bytes]:
            headers = {k: v for k, v in context.invocation_metadata() if k == "authorization"}
            self._changes.request(path, headers)
            method: Any = self._channel.unary_stream(path)
            call = method(request, metadata=tuple(headers.items()))
            try:
                async for message in call:
                    for unit in self._changes.unit("grpc", path, message):
                        yield unit
            except grpc.aio.AioRpcError as error:
                code = self._changes.status(path, error.code())
                trailers = tuple(error.trailing_metadata() or ())
                await context.abort(code, error.details() or "", trailers)

        return grpc.unary_stream_rpc_method_handler(handle)
