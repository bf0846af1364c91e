"""The connections over which the hub's HTTP port sends events: WebSocket and server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from ssl import SSLContext
from typing import Any, cast

import httpx
from google.protobuf.json_format import Parse, ParseDict, ParseError
from google.protobuf.message import DecodeError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
)
from websockets.typing import Subprotocol

from ide_orchestrator.client.errors import (
    Changed,
    Fault,
    HubError,
    NotAuthenticated,
    Refused,
    Unavailable,
    not_answered,
)
from ide_orchestrator.client.responses import PLAIN, body_of, opened, problem_of
from ide_orchestrator.client.retrying import authorization
from ide_orchestrator.v1.event_pb2 import Event
from ide_orchestrator.v1.refinement_pb2 import WatchRefinementResponse

#: The largest message that is read, which the hub learns: as large as the largest event, and more.
MAX_MESSAGE_BYTES = 64 << 20
#: The most fragments of a message. The hub sends none, a proxy may divide a message into some.
MAX_FRAGMENTS = 64 << 10
JSON, BINARY = Subprotocol("ideo.v1"), Subprotocol("ideo.v1.proto")

#: Close codes after which connecting again does not help. After all others it may.
_FINAL_CLOSES: Mapping[int, type[HubError]] = {
    1009: Refused,
    4400: Refused,
    4401: NotAuthenticated,
    4403: Refused,
    4404: Refused,
    4410: Changed,
}
_COMPLETE = 1000
#: Server-sent events that are not events of the thread.
_NOTICES = ("hello", "heartbeat", "reconnect")


def _ignore() -> None:
    pass


class _ConnectOnce(connect):
    """A connection to the address itself. A hub does not redirect, and the token is for its address alone:
    older releases of websockets send it wherever a redirect leads."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """The error of a redirect, which is not followed."""
        return exc


async def over_websocket(
    url: str,
    token: str,
    *,
    subprotocol: Subprotocol = BINARY,
    ssl: SSLContext | None = None,
    use_proxy: bool = True,
    heard: Callable[[], None] = _ignore,
) -> AsyncGenerator[WatchRefinementResponse, None]:
    """The messages of one WebSocket, until the hub has sent everything.

    url: `http:` or `https:`, with the cursor. heard: is called with each part of a message. Raises HubError.
    """
    opened = data_over_websocket(
        url, token, subprotocol=subprotocol, ssl=ssl, use_proxy=use_proxy, heard=heard
    )
    async with aclosing(opened) as received:
        async for data in received:
            yield _parsed(data)


async def data_over_websocket(
    url: str,
    token: str,
    *,
    subprotocol: Subprotocol,
    ssl: SSLContext | None = None,
    use_proxy: bool = True,
    heard: Callable[[], None] = _ignore,
) -> AsyncGenerator[str | bytes, None]:
    """The same messages as they come, in the form of the subprotocol. Raises HubError."""
    with _connection_errors(url):
        async with _ConnectOnce(
            f"ws{url.removeprefix('http')}",
            additional_headers=authorization(token),
            subprotocols=[subprotocol],
            max_size=MAX_MESSAGE_BYTES,
            compression=None,
            ssl=(ssl or True) if url.startswith("https") else None,
            proxy=True if use_proxy else None,
            # The hub's messages show that it is alive.
            ping_interval=None,
            close_timeout=1,
        ) as socket:
            if socket.subprotocol != subprotocol:
                raise Fault(f"{_host(url)} is not the hub: it does not know {subprotocol}")
            with suppress(ConnectionClosedOK):
                while True:
                    yield await _whole_message(socket, heard)
        if socket.close_code != _COMPLETE:
            raise Unavailable(f"{_hub(url)} ended the stream ({socket.close_code})")


async def _whole_message(socket: ClientConnection, heard: Callable[[], None]) -> str | bytes:
    """The next message. Raises Fault for one in too many fragments: an empty one takes memory, too, and the
    library counts their bytes alone in some of its versions."""
    data: list[Any] = []
    async with aclosing(cast("AsyncGenerator[str | bytes, None]", socket.recv_streaming())) as fragments:
        async for fragment in fragments:
            data.append(fragment)
            heard()
            if len(data) > MAX_FRAGMENTS:
                raise Fault("the hub sent a message in too many fragments")
    whole: str | bytes = data[0] if len(data) == 1 else type(data[0])().join(data)
    return whole


async def over_sse(
    http: httpx.AsyncClient, url: str, token: str, after: int, *, heard: Callable[[], None] = _ignore
) -> AsyncGenerator[WatchRefinementResponse, None]:
    """The messages of one stream of server-sent events, until the hub has sent everything. heard: as of
    `over_websocket`. Raises HubError."""
    headers = {**PLAIN, **authorization(token), "Accept": "text/event-stream"}
    if after:
        headers["Last-Event-ID"] = str(after)
    # The follower notices silence.
    timeout = httpx.Timeout(None, connect=5)
    with _connection_errors(url):
        response = await opened(http, http.build_request("GET", url, headers=headers, timeout=timeout))
        async with aclosing(response):
            if response.status_code == httpx.codes.NO_CONTENT:
                return
            if not response.is_success:
                body = await body_of(response, _host(url))
                raise problem_of(response.status_code, response.headers, body, _host(url))
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise Fault(f"{_host(url)} is not the hub: it does not answer with server-sent events")
            async for name, data in _server_sent_events(response.aiter_raw(), heard):
                yield _message(name, data)
    # Everything was sent if the terminal event was, and then nobody reads on.
    raise Unavailable(f"{_hub(url)} ended the stream")


async def _server_sent_events(
    chunks: AsyncIterable[bytes], heard: Callable[[], None]
) -> AsyncGenerator[tuple[str, bytes], None]:
    """Name and data of each event. The hub's have one line of data; other lines count for browsers only."""
    name, data = "", b""
    # The pieces of a line that has no end yet: each is looked at once, however long the line gets.
    begun: list[bytes] = []
    size = 0
    async for chunk in chunks:
        heard()
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*begun, lines[0]])
            begun, size = [], 0
        begun.append(rest)
        size += len(rest)
        for line in lines:
            field, _, value = line.partition(b": ")
            if field == b"event":
                name = value.decode()
            elif field == b"data":
                data = value
            elif not line and data:
                yield name, data
                name, data = "", b""
        if size > MAX_MESSAGE_BYTES:
            raise Fault("the hub sent an event that is too large")


def _message(name: str, data: bytes) -> WatchRefinementResponse:
    with _parse_errors():
        message = WatchRefinementResponse()
        if name in _NOTICES:
            return ParseDict({name: json.loads(data)}, message, ignore_unknown_fields=True)
        message.batch.events.append(Parse(data, Event(), ignore_unknown_fields=True))
        return message


def _parsed(data: str | bytes) -> WatchRefinementResponse:
    with _parse_errors():
        if isinstance(data, bytes):
            return WatchRefinementResponse.FromString(data)
        return Parse(data, WatchRefinementResponse(), ignore_unknown_fields=True)


@contextmanager
def _parse_errors() -> Iterator[None]:
    try:
        yield
    except (ParseError, DecodeError, ValueError, RecursionError):
        raise Fault("the hub sent an event that cannot be read") from None


@contextmanager
def _connection_errors(url: str) -> Iterator[None]:
    """Raise HubError for the errors of the libraries."""
    try:
        yield
    except InvalidStatus as error:
        response = error.response
        raise problem_of(response.status_code, response.headers, response.body or b"", _host(url)) from error
    except ConnectionClosed as closed:
        raise _closed(closed, url) from closed
    except (InvalidHandshake, InvalidURI) as error:
        if isinstance(error.__cause__, EOFError | OSError):
            raise Unavailable(f"{_hub(url)} closed the connection without an answer") from error
        raise Refused(
            f"{_host(url)} is not the hub's HTTP address: "
            f"it does not answer as a WebSocket ({type(error).__name__})"
        ) from error
    except (OSError, EOFError, httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise not_answered(_hub(url), error) from error


def _closed(closed: ConnectionClosed, url: str) -> HubError:
    if closed.rcvd is None:
        if closed.sent is not None and closed.sent.code == 1009:
            return Refused(f"the hub sent a message above {MAX_MESSAGE_BYTES} bytes")
        return Unavailable(f"{_hub(url)} cut the stream")
    code, reason = closed.rcvd.code, closed.rcvd.reason
    if code in _FINAL_CLOSES:
        return _FINAL_CLOSES[code](f"the hub closed the stream ({code}): {reason}")
    return Unavailable(f"{_hub(url)} ended the stream ({code})")


def _host(url: str) -> str:
    return str(httpx.URL(url).copy_with(raw_path=b"/")).rstrip("/")


def _hub(url: str) -> str:
    return f"the hub at {_host(url)}"
