"""One call of Connect or gRPC-Web: its answer, and how that ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import cast

from google.rpc import status_pb2
from litestar.types import Send

from server.connect.errors import connect_error
from server.connect.protocols import Protocol
from server.domain.errors import ClientTooSlow
from server.domain.fair_budget import Reservation
from server.domain.streams.observer import ReaderObserver
from server.grpc.authentication import Context
from server.grpc.writing import MessageWriter, make_room
from server.http.connection import ClientGone, Connection, Pace, SlowReader
from server.http.response_body import STREAM_HEADERS, send_pieces
from server.http.slow_readers import reset_slow_reader
from server.wire.text import dumps


class Call:
    """A call, as the methods of a service see it instead of grpc's context."""

    def __init__(self, protocol: Protocol, connection: Connection, send: Send, *, trace_id: str) -> None:
        self.protocol, self.connection, self._send = protocol, connection, send
        self.trace_id = trace_id
        self._trailers: dict[str, str] = {}
        #: Whether the answer of a stream has begun.
        self._started = False
        #: Whether a part of a message has been sent, and the rest not yet.
        self._in_message = False

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str]]) -> None:
        """Set what the end of the answer says besides the status."""
        self._trailers = dict(metadata)

    async def write(self, message: bytes) -> None:
        """Send a message of a stream, in the form of the call. Raises SlowReader."""
        await self._start_stream()
        self._in_message = True
        await self._send_body(self.protocol.message(message))
        self._in_message = False

    async def answer(self, message: bytes) -> None:
        """Send the answer of a method that has one. Raises SlowReader."""
        body = self.protocol.message(message)
        if self.protocol.enveloped:
            body += self.protocol.end(self._trailers)
        self._in_message = True
        await self._answer(HTTPStatus.OK, self.protocol.content_type, body)

    async def end(self) -> None:
        """End a stream."""
        await self._end(None)

    async def fail(self, status: status_pb2.Status, http: int, headers: Mapping[str, str]) -> None:
        """End the call with an error. http, headers: what Connect says in HTTP outside of streams."""
        if self._in_message:
            # The client would take what follows for the rest of the message.
            self.connection.abort()
        elif self.protocol.enveloped:
            await self._end(status)
        else:
            await self._answer(http, "application/json", dumps(connect_error(status)), headers)

    async def _end(self, status: status_pb2.Status | None) -> None:
        await self._start_stream()
        body = self.protocol.end(self._trailers, status)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _answer(
        self, status: int, content_type: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        await self._start(
            status, {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
        )
        await self._send_body(body)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start_stream(self) -> None:
        if not self._started:
            self._started = True
            await self._start(HTTPStatus.OK, {"content-type": self.protocol.content_type, **STREAM_HEADERS})

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def _send_body(self, body: bytes) -> None:
        await send_pieces(body, self._send, self.connection, Pace(self.connection))


class CallWriter(MessageWriter):
    """Writes messages under the deadline of the HTTP port's readers, which is `Pace`'s."""

    def __init__(self, readers: ReaderObserver) -> None:
        self._readers = readers

    async def write(self, context: Context, message: bytes, reservation: Reservation | None = None) -> None:
        """Send a message of a stream, once there is room for it. Raises ClientTooSlow."""
        await make_room(message, reservation)
        try:
            await cast(Call, context).write(message)
        except SlowReader:
            raise ClientTooSlow("the reader took too little for too long") from None

    async def abort(self, context: Context, slow: ClientTooSlow, **ids: str) -> None:
        """Log, count and reset the connection of a slow reader. ids: what it read. Raises ClientGone."""
        call = cast(Call, context)
        reset_slow_reader(call.connection, self._readers, call.protocol.name, trace_id=call.trace_id, **ids)
        raise ClientGone from None
