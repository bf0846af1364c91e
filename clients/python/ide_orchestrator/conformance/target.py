"""The hub that is checked: its addresses, the tokens, and connections to it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from grpc import aio, ssl_channel_credentials

from ide_orchestrator.client import Hub, Refused, Unavailable
from ide_orchestrator.client.grpc_address import grpc_address
from ide_orchestrator.client.responses import MAX_RESPONSE_BYTES
from ide_orchestrator.client.retrying import authorization
from ide_orchestrator.v1.info_pb2 import GetServerInfoRequest
from ide_orchestrator.v1.info_pb2_grpc import InfoServiceStub

#: Where a hub serves gRPC unless it is configured otherwise.
GRPC_PORT = 50051
#: Seconds that the hub has to answer there.
_PROBE_S = 3.0
#: Seconds that the hub has for saying where.
_ANSWER_S = 20.0
#: Events are whole on every transport, so no message is refused for its size.
_CHANNEL = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


#: The code of a call that the hub refuses because its caller is at a limit, such as that of its creations in
#: a minute: it says nothing of the rule.
LIMIT_REACHED = "limit_reached"


class Broken(Exception):
    """What the hub sent is not what the rule says. The text is for people."""


class Skipped(Exception):
    """The rule cannot be checked here. The text says what it needs."""


@dataclass(frozen=True)
class Target:
    """One hub.

    http: its address, `https://ide.example.com`. token: of a user who may make workflows; empty: none. grpc:
    `HOST:PORT`, or `https://HOST:PORT` for a port with TLS; empty: no gRPC. other_token: of another user.
    ca_file: certificates of the authority that signed the hub's; None for those that the machine trusts.
    """

    http: str
    token: str
    grpc: str = ""
    other_token: str = ""
    ca_file: Path | None = None

    @property
    def ssl(self) -> ssl.SSLContext | None:
        """What checks the hub's certificate; None without TLS."""
        return ssl.create_default_context(cafile=self.ca_file) if self.http.startswith("https:") else None

    def open_http(self, *, timeout_s: float = 60) -> httpx.AsyncClient:
        """A client with the token. timeout_s: the longest wait for the next bytes."""
        return httpx.AsyncClient(
            base_url=self.http,
            headers=authorization(self.token),
            timeout=httpx.Timeout(timeout_s, connect=5),
            transport=Bounded(self.ssl),
        )

    def open_grpc(self) -> aio.Channel:
        """A channel of its own."""
        scheme, found, address = self.grpc.rpartition("://")
        if not found or scheme == "http":
            return aio.insecure_channel(address, options=_CHANNEL)
        return aio.secure_channel(address, ssl_channel_credentials(self._authorities), options=_CHANNEL)

    @property
    def _authorities(self) -> bytes | None:
        """The authorities that are trusted over HTTP, for gRPC, which has others of its own; None for
        those."""
        if self.ca_file is not None:
            return self.ca_file.read_bytes()
        trusted = ssl.create_default_context().get_ca_certs(binary_form=True)
        return "".join(map(ssl.DER_cert_to_PEM_cert, trusted)).encode() or None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call."""
        return tuple((name.lower(), value) for name, value in authorization(self.token).items())


class Bounded(httpx.AsyncHTTPTransport):
    """Connections to a server that may not be a hub: an answer without an end does not fill the memory.

    context: what checks the certificate; None without TLS.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(verify=context or False, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As httpx's."""
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _BoundedStream(response.stream)
        return response


class _BoundedStream(httpx.AsyncByteStream):
    """The bytes of an answer, up to more than a hub sends."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > MAX_RESPONSE_BYTES:
                raise Broken(f"the answer has more than {MAX_RESPONSE_BYTES} bytes")
            yield piece

    async def aclose(self) -> None:
        """As httpx's."""
        await self._stream.aclose()


async def find_grpc(target: Target) -> Target:
    """The target with the address of gRPC: the one that its hub says, or the one where hubs serve gRPC unless
    they are configured otherwise. Raises HubError when no hub answers there."""
    tried: dict[str, str] = {}
    said, why = await _said_address(target)
    for address in dict.fromkeys([*said, _usual_address(target)]):
        found = replace(target, grpc=address)
        async with found.open_grpc() as channel:
            call = InfoServiceStub(channel).GetServerInfo(
                GetServerInfoRequest(), metadata=found.metadata, timeout=_PROBE_S
            )
            try:
                await call
                return found
            except aio.AioRpcError as error:
                tried[address] = error.code().name
    where = ", ".join(f"{address} ({code})" for address, code in tried.items())
    raise Unavailable(
        f"no hub answers over gRPC at {where}{why and f'. Another address is not tried: {why}'}"
    )


async def _said_address(target: Target) -> tuple[list[str], str]:
    """The address that the hub says, if it says one that may be used, and why not otherwise. Raises
    HubError."""
    async with Hub(target.http, target.token, ssl=target.ssl, trust_env=False) as hub:
        try:
            address, tls = await asyncio.wait_for(grpc_address(hub), _ANSWER_S)
        except asyncio.TimeoutError:
            # What is then tried of the hub says it.
            return [], ""
        except Refused as error:
            if error.code:
                raise
            # What a program is to do about it is not what a checker does.
            return [], str(error).partition(": give its address")[0]
    return [f"https://{address}" if tls else address], ""


def _usual_address(target: Target) -> str:
    url = httpx.URL(target.http)
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{'https://' if url.scheme == 'https' else ''}{host}:{GRPC_PORT}"


def expect(found: Any, expected: Any, what: str) -> None:
    """Raise Broken unless the values are equal. what: their name in a sentence."""
    if found != expected:
        raise Broken(f"{what} is {_short(found)}, not {_short(expected)}")


def expect_same(found: list[Any], expected: list[Any], what: str) -> None:
    """Raise Broken with the first difference of two lists. what: the name of one item."""
    for place, (one, other) in enumerate(zip(found, expected, strict=False), 1):
        if one != other:
            raise Broken(f"{what} {place} is {_short(one)}, not {_short(other)}")
    if len(found) != len(expected):
        raise Broken(f"there are {len(found)} of {what}, not {len(expected)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
