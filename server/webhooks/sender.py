"""Calls of webhooks over HTTP, to addresses that were checked.

A receiver is whatever a user names. Its name is resolved here, each address is checked, and the connection
goes to an address that passed: what the name stands for a moment later does not matter. Redirects are not
followed, no proxy of the environment is used, and of an answer only its status counts.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from types import TracebackType

import httpcore
import httpx
from typing_extensions import override

from server.addresses.host_names import Addresses, HostNames
from server.bounded_http import BoundedNetwork, LoopShare
from server.domain.webhooks.delivery import PLACES, Sender, SendFailed
from server.domain.webhooks.targets import AllowedHosts, Target

#: Seconds for a whole call, with the resolution of the name: a receiver stores the event, and works on it
#: later.
CALL_S = 15.0
#: Addresses of a name that are tried.
MAX_ADDRESSES = 4
#: Lookups of names at a time: those whose servers do not answer go on after their calls have ended.
MAX_LOOKUPS = 2 * PLACES
#: Seconds for which an idle connection is kept: fewer than servers keep theirs, so that none is used that is
#: closed at that moment.
KEEP_ALIVE_S = 2.0
#: Bytes and pieces of a body that are read, and seconds for that, so that its connection can be used again.
MAX_BODY_BYTES, MAX_PIECES, ANSWER_S = 16 << 10, 64, 1.0

#: What reading the rest of an answer raises when it is late or cut off.
_REST_IS_LOST = (TimeoutError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)

#: How TLS asks for more of a connection, which may end then.
_WAITING = (ssl.SSLWantReadError, ssl.SSLWantWriteError)

_Resolve = Callable[[str, int], Awaitable[Iterable[str]]]

_USER_AGENT = f"ide-orchestrator/{version('ide-orchestrator')}"


class _NoAddress(Exception):
    """The host has no address that may be called."""


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that may be called, and to no others. resolve: gives the addresses of a host.
    secure: for calls with TLS. share: for what is read."""

    def __init__(
        self, allowed_hosts: AllowedHosts, resolve: _Resolve, share: LoopShare, *, secure: bool
    ) -> None:
        self._allowed_hosts, self._resolve, self._secure = allowed_hosts, resolve, secure
        self._network = BoundedNetwork(share)

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection. Raises _NoAddress, and as httpcore's."""
        found = await self._resolve(host, port)
        permitted = [each for each in found if self._allowed_hosts.permits(host, each, secure=self._secure)]
        failed: httpcore.ConnectError | None = None
        for address in permitted[:MAX_ADDRESSES]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failed = error
        raise failed or _NoAddress


class HttpSender(Sender):
    """Sends over HTTP/1.1."""

    def __init__(
        self,
        allowed_hosts: AllowedHosts,
        *,
        media_type: str,
        call_s: float = CALL_S,
        answer_s: float = ANSWER_S,
        tls: ssl.SSLContext | None = None,
        look_up: Callable[..., Addresses] = socket.getaddrinfo,
    ) -> None:
        """media_type: of what is sent. call_s: seconds for a call. answer_s: seconds for the rest of an
        answer, after its status. tls: how certificates are verified; by default as in the hub's other calls.
        look_up: as for `HostNames`."""
        self._allowed_hosts, self._media_type = allowed_hosts, media_type
        self._call_s, self._answer_s, self._tls = call_s, answer_s, tls
        self._names = HostNames(look_up, max_lookups=MAX_LOOKUPS)
        self._share = LoopShare()
        #: The connections without and with TLS, once there was a call.
        self._pools: dict[bool, httpcore.AsyncConnectionPool] = {}

    async def __aenter__(self) -> HttpSender:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._pools.values():
            await pool.aclose()

    @override
    async def send(self, target: Target, headers: Mapping[str, str], body: bytes) -> int:
        try:
            async with asyncio.timeout(self._call_s):
                return await self._post(target, headers, body)
        except _NoAddress:
            raise SendFailed("address") from None
        except (TimeoutError, httpcore.TimeoutException):
            raise SendFailed("timeout") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise SendFailed("tls" if _is_tls(error) else "connection") from None

    async def _post(self, target: Target, headers: Mapping[str, str], body: bytes) -> int:
        url = httpcore.URL(
            scheme="https" if target.secure else "http",
            host=target.host,
            port=target.port,
            target=target.path,
        )
        sent = {
            "host": target.authority,
            "user-agent": _USER_AGENT,
            "accept-encoding": "identity",
            "content-type": self._media_type,
            **headers,
        }
        pool = await self._pool(secure=target.secure)
        async with pool.stream("POST", url, headers=[*sent.items()], content=body) as response:
            # With the status it is answered, whatever becomes of the rest: a call that fails is made again.
            with suppress(*_REST_IS_LOST):
                async with asyncio.timeout(self._answer_s):
                    await _read_beginning(response)
            return response.status

    async def _pool(self, *, secure: bool) -> httpcore.AsyncConnectionPool:
        if secure not in self._pools:
            if secure and self._tls is None:
                # It takes longer than a call, and most hubs never need it.
                self._tls = await asyncio.to_thread(httpx.create_ssl_context)
            self._pools.setdefault(
                secure,
                httpcore.AsyncConnectionPool(
                    ssl_context=self._tls,
                    max_connections=None,
                    keepalive_expiry=KEEP_ALIVE_S,
                    network_backend=_CheckedNetwork(
                        self._allowed_hosts, self._resolve, self._share, secure=secure
                    ),
                ),
            )
        return self._pools[secure]

    async def _resolve(self, host: str, port: int) -> Iterable[str]:
        """The addresses of a host, in the system's order; none when it is not known."""
        try:
            # Not by the loop's lookups, which are few: a caller's names must not delay the hub's own.
            found = await self._names.addresses(host, port, 0, socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return ()
        return dict.fromkeys(str(address[0]) for *_, address in found)


async def _read_beginning(response: httpcore.Response) -> None:
    left, pieces = MAX_BODY_BYTES, MAX_PIECES
    async for piece in response.aiter_stream():
        left, pieces = left - len(piece), pieces - 1
        if left < 0 or pieces < 0:
            break


def _is_tls(error: BaseException) -> bool:
    """Whether the error comes from TLS, and not from a connection that ended while TLS waited for it."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLError) and not isinstance(found, _WAITING):
            return True
        found = found.__cause__ or found.__context__
    return False
