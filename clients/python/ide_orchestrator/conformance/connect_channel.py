"""Channels over Connect and gRPC-Web, for the same stubs as gRPC's."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio
import httpx
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToJson, Parse
from google.rpc import status_pb2

from ide_orchestrator.conformance.target import Bounded, Broken, expect

#: What a channel is called: the content types of its unary calls and of its streams.
CONTENT_TYPES = {
    "connect-json": ("application/json", "application/connect+json"),
    "connect-proto": ("application/proto", "application/connect+proto"),
    "grpc-web": ("application/grpc-web+proto", "application/grpc-web+proto"),
    "grpc-web-text": ("application/grpc-web-text", "application/grpc-web-text"),
}
_ENVELOPE = struct.Struct(">BI")
Metadata = Iterable[tuple[str, str]]


def enveloped(message: bytes, flags: int = 0) -> bytes:
    """A message in its envelope."""
    return _ENVELOPE.pack(flags, len(message)) + message


def envelopes(body: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The whole envelopes of a body, as flags and message, and the rest of it."""
    found = []
    while len(body) >= _ENVELOPE.size:
        flags, size = _ENVELOPE.unpack_from(body)
        if len(body) < _ENVELOPE.size + size:
            break
        found.append((flags, body[_ENVELOPE.size : _ENVELOPE.size + size]))
        body = body[_ENVELOPE.size + size :]
    return found, body


def decoded_text(body: bytes) -> tuple[bytes, bytes]:
    """What base64 holds, of pieces that may each be padded, and the rest of it."""
    whole, rest = len(body) // 4 * 4, b""
    body, rest = body[:whole], body[whole:]
    return b"".join(base64.b64decode(body[at : at + 4]) for at in range(0, len(body), 4)), rest


class ConnectChannel:
    """What stubs need of a channel. name: one of CONTENT_TYPES. `trailers`: of the call that ended last."""

    def __init__(self, http: httpx.AsyncClient, name: str) -> None:
        self._http, self._name = http, name
        self._unary, self._stream = CONTENT_TYPES[name]
        self.trailers: dict[str, str] = {}

    def unary_unary(
        self, path: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Callable[..., Any]:
        """As grpc's."""

        async def call(request: Any, *, metadata: Metadata = (), timeout: float | None = None) -> Any:
            headers = {"content-type": self._unary, **dict(metadata)}
            answer = await self._http.post(path, content=self._body(request), headers=headers)
            if self._name.startswith("connect"):
                if answer.headers["content-type"] == "application/problem+json":
                    answer.raise_for_status()
                if answer.status_code != 200:
                    raise error_of_connect(answer.json())
                expect(answer.headers.get("content-type"), self._unary, "the content type")
                return self._parsed(answer.content, response_deserializer)
            (message, *more) = [each async for each in self._messages(answer)]
            if more:
                raise Broken(f"the answer has {len(more)} messages too many")
            return self._parsed(message, response_deserializer)

        return call

    def unary_stream(
        self, path: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Callable[..., Any]:
        """As grpc's."""

        async def call(request: Any, *, metadata: Metadata = ()) -> AsyncIterator[Any]:
            headers = {"content-type": self._stream, **dict(metadata)}
            body = self._body(request, stream=True)
            async with self._http.stream("POST", path, content=body, headers=headers) as answer:
                async for message in self._messages(answer):
                    yield self._parsed(message, response_deserializer)

        return call

    def stream_unary(self, *_: Any, **__: Any) -> None:
        """There is no such method."""

    stream_stream = stream_unary

    def _body(self, request: Any, *, stream: bool = False) -> bytes:
        json_form = self._name == "connect-json"
        message = MessageToJson(request).encode() if json_form else request.SerializeToString()
        if not stream and self._name.startswith("connect"):
            return bytes(message)
        body = enveloped(message)
        return base64.b64encode(body) if self._name == "grpc-web-text" else body

    def _parsed(self, message: bytes, parse: Any) -> Any:
        if self._name == "connect-json":
            return Parse(message, parse.__self__())
        return parse(message)

    async def _messages(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        """The messages of an answer up to its end. Raises what the end says."""
        answer.raise_for_status()
        expect(answer.headers.get("content-type"), self._stream, "the content type")
        text, body = b"", b""
        async for chunk in answer.aiter_raw() if not answer.is_stream_consumed else _once(answer.content):
            if self._name == "grpc-web-text":
                more, text = decoded_text(text + chunk)
            else:
                more = chunk
            found, body = envelopes(body + more)
            for flags, message in found:
                if not flags:
                    yield message
                    continue
                expect((text, body), (b"", b""), "what follows the end of the stream")
                self._end(flags, message)
                return
        raise httpx.RemoteProtocolError("the answer has no end")

    def _end(self, flags: int, message: bytes) -> None:
        if self._name.startswith("connect"):
            expect(flags, 0x02, "the flags of the end")
            end = json.loads(message)
            self.trailers = {name: value for name, (value,) in end.get("metadata", {}).items()}
            if "error" in end:
                raise error_of_connect(end["error"])
            return
        expect(flags, 0x80, "the flags of the end")
        self.trailers = trailers_of(message)
        error = error_of_trailers(message)
        if error is not None:
            raise error


def trailers_of(message: bytes) -> dict[str, str]:
    """The trailers of gRPC-Web, by name."""
    lines = message.decode().removesuffix("\r\n").split("\r\n")
    return {name: value for name, _, value in (line.partition(": ") for line in lines)}


def error_of_trailers(message: bytes) -> grpc.aio.AioRpcError | None:
    """gRPC-Web's error as gRPC's; None for a call that succeeded."""
    trailers = trailers_of(message)
    if trailers["grpc-status"] == "0":
        return None
    padded = trailers["grpc-status-details-bin"] + "=="
    status = status_pb2.Status.FromString(base64.b64decode(padded))
    expect(trailers["grpc-status"], str(status.code), "grpc-status")
    expect(unquote(trailers["grpc-message"]), status.message, "grpc-message")
    return _error(status)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def error_of_connect(sent: dict[str, Any]) -> grpc.aio.AioRpcError:
    """Connect's error as gRPC's."""
    code = "CANCELLED" if sent["code"] == "canceled" else sent["code"].upper()
    details = [
        AnyMessage(
            type_url=f"type.googleapis.com/{each['type']}", value=base64.b64decode(each["value"] + "==")
        )
        for each in sent["details"]
    ]
    number = grpc.StatusCode[code].value[0]
    return _error(status_pb2.Status(code=number, message=sent["message"], details=details))


def _error(status: status_pb2.Status) -> grpc.aio.AioRpcError:
    code = next(each for each in grpc.StatusCode if each.value[0] == status.code)
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details=status.message)


@asynccontextmanager
async def connect_channel(
    address: str, name: str, *, quiet_s: float = 30, ssl: SSLContext | None = None
) -> AsyncIterator[Any]:
    """A `ConnectChannel` to a hub's HTTP address, which stubs take for grpc's. quiet_s: the longest wait for
    the next bytes. ssl: what checks the certificate; None without TLS."""
    timeout = httpx.Timeout(quiet_s, connect=5)
    # To read the authorities takes longer than a call.
    async with httpx.AsyncClient(base_url=address, timeout=timeout, transport=Bounded(ssl)) as http:
        yield ConnectChannel(http, name)
