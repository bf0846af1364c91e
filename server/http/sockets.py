"""WebSocket `/api/ws/refinements/{thread_id}`: admission, then a thread's events until the last.

1. Whatever is wrong before the upgrade is answered as a problem, with the seed's statuses: a thread
   that is not the caller's and one that does not exist are both 403.
2. A stream ends by the terminal event (1000), by the client, or with the close code of the table; the
   reason then carries the cursor where it is worth to come back.
3. A reader that takes too little for too long is closed with 4408. That close waits behind what the
   reader did not take yet; if it does not take that either, the connection is cut (ADR 0006).
4. While the database is away, an open stream stays open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import assert_never
from urllib.parse import parse_qs

from litestar.datastructures import Headers
from litestar.types import Receive, Scope, Send

from server.domain.access.stream_authorization import StreamAuthorization
from server.domain.errors import HubError, NotFound, PermissionDenied, ShuttingDown, Unauthenticated
from server.domain.journal.segments import Segment
from server.domain.model import Principal
from server.domain.streams.steps import Heartbeat, ReconnectElsewhere
from server.domain.streams.subscription import Subscription
from server.http.connection import ClientGone, Connection, ReaderStuck, connection_of
from server.http.frames import JsonEventEncoder, LegacyFrameEncoder, Messages, ProtoEventEncoder, close_frame
from server.http.handshake import Form, form_of, origin_allowed, token_of
from server.http.refusals import log, note_fault, place_of, refuse_upgrade, trace_id_of
from server.http.renewal import Renewal
from server.http.services import HttpServices
from server.wire.fields import uuid_or_not_found
from server.wire.problems import CLOSE_DONE, CLOSE_SLOW, INTERNAL, Close, Reconnect, detail_of, problem_of
from server.wire.requests import cursor

#: Advice after which a reader goes on from its cursor.
_COME_BACK = (Reconnect.AT_ONCE, Reconnect.LATER, Reconnect.NEW_TOKEN)
#: From here on, what is to be written is written: a step may hold more.
_WRITE_BYTES = 256 << 10
_NOT_YOURS = "you may not follow this refinement, or there is none such"
_TEMPLATE = "/api/ws/refinements/{thread_id}"


class RefinementSocket:
    """The handler of the address's WebSockets."""

    def __init__(self, services: HttpServices) -> None:
        self._services = services

    async def serve(self, thread_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One socket, from its upgrade request to its close."""
        await receive()
        headers = Headers.from_scope(scope)
        trace_id = trace_id_of(headers)
        try:
            subprotocol, subscription, messages = await self._admit(thread_id, scope, headers)
        except Exception as error:
            note_fault(error, trace_id=trace_id, path_template=_TEMPLATE, dev=self._services.dev)
            await refuse_upgrade(scope, send, error, trace_id=trace_id)
            return
        try:
            connection = connection_of(scope)  # type: ignore[arg-type]
            await send(
                {"type": "websocket.accept", "subprotocol": subprotocol, "headers": []},
            )
            self._services.readers.opened(messages.form.value, subscription.topic.thread_id)
            try:
                await self._serve(_Stream(connection, subscription, messages), send, thread_id, trace_id)
            finally:
                self._services.readers.closed(messages.form.value, subscription.topic.thread_id)
        except (ClientGone, OSError):
            pass  # ASGI tells a sender of a lost connection by an OSError
        finally:
            subscription.close()

    async def _admit(
        self, thread_id: str, scope: Scope, headers: Headers
    ) -> tuple[str | None, Subscription, Messages]:
        services = self._services
        if services.draining():
            raise ShuttingDown
        if not origin_allowed(headers.getall("origin", []), services.allowed_origins):
            raise PermissionDenied("this origin is not allowed")
        offered: list[str] = list(scope["subprotocols"])  # type: ignore[typeddict-item]
        query = parse_qs(scope["query_string"].decode("ascii", "replace"), keep_blank_values=True)
        principal = await self._caller(thread_id, query, headers, offered)
        after = cursor(query.get("after", [None])[0])
        form, subprotocol = form_of(offered)
        try:
            thread = uuid_or_not_found(thread_id, "refinement")
            if form is Form.SEED:
                seed = await services.refinements.follow_legacy_frames(principal, thread, after)
                return subprotocol, seed.subscription, LegacyFrameEncoder(seed)
            subscription = await services.refinements.follow(principal, thread, after)
        except NotFound:
            raise PermissionDenied(_NOT_YOURS) from None
        return subprotocol, subscription, JsonEventEncoder() if form is Form.JSON else ProtoEventEncoder()

    async def _caller(
        self, thread_id: str, query: Mapping[str, list[str]], headers: Headers, offered: list[str]
    ) -> Principal:
        """Who comes, by a ticket or a token. Raises Unauthenticated, PermissionDenied."""
        services = self._services
        ticket = query.get("ticket", [""])[0]
        if ticket:
            try:
                thread = uuid_or_not_found(thread_id, "refinement")
            except NotFound:
                raise PermissionDenied(_NOT_YOURS) from None
            return await services.tickets.redeem(ticket, thread)
        in_query = query.get("token", [None])[0] if services.query_token else None
        token = token_of(in_query, headers.get("authorization"), offered)
        return await services.authenticator.authenticate(token, reads=True)

    async def _serve(self, stream: _Stream, send: Send, thread_id: str, trace_id: str) -> None:
        """Follow to the end, and close. Raises ClientGone, OSError."""
        try:
            close = await self._run(stream, thread_id, trace_id)
            # A close waits in line like all else, but ASGI's has no deadline.
            await stream.connection.drained()
        except ReaderStuck:
            log.info("reader_stuck", thread_id=thread_id, trace_id=trace_id)
            self._services.readers.on_slow_reader("websocket")
            stream.connection.write(close_frame(CLOSE_SLOW.code, stream.reason(CLOSE_SLOW)))
            return
        await send({"type": "websocket.close", "code": close.code, "reason": stream.reason(close)})

    async def _run(self, stream: _Stream, thread_id: str, trace_id: str) -> Close:
        """Follow to the end; the close that is due. Raises ClientGone."""
        renewal = Renewal(self._services.authenticator, stream.authorization, asyncio.get_running_loop().time)
        stream.connection.said = renewal.said
        try:
            with stream.connection.streaming():
                await stream.follow()
        except ClientGone:
            raise
        except Exception as error:
            return await self._farewell(stream, error, thread_id, trace_id)
        finally:
            renewal.close()
        return CLOSE_DONE

    async def _farewell(self, stream: _Stream, error: Exception, thread_id: str, trace_id: str) -> Close:
        problem = problem_of(error)
        if isinstance(error, Unauthenticated | PermissionDenied):
            # No word in the seed's frames: there it would read as a fault of the run.
            log.info("admission_ended", error=problem.code, thread_id=thread_id, trace_id=trace_id)
        elif not isinstance(error, ShuttingDown):
            context = problem.code if isinstance(error, HubError) else INTERNAL.code
            log.error(
                "websocket_proxy_error",
                context=context,
                error=type(error).__name__,
                where=place_of(error),
                thread_id=thread_id,
                trace_id=trace_id,
            )
            await stream.write(stream.messages.fault(detail_of(error), context))
        return problem.close


class _Stream:
    """The events of a subscription on their way to one client."""

    def __init__(self, connection: Connection, subscription: Subscription, messages: Messages) -> None:
        self.connection, self.messages = connection, messages
        self._subscription = subscription
        #: Seq of the last event that was written.
        self.sent = subscription.cursor

    @property
    def authorization(self) -> StreamAuthorization:
        """The reader's leave to follow."""
        assert self._subscription.authorization is not None
        return self._subscription.authorization

    async def follow(self) -> None:
        """Write everything until the terminal event. Raises ClientGone, ReaderStuck."""
        await self.write(self.messages.hello(self._subscription.topic.head))
        while True:
            match await self._subscription.step_when_available():
                case Heartbeat() as heartbeat:
                    await self.write(self.messages.beat(heartbeat))
                case ReconnectElsewhere() as reconnect:
                    await self.write(self.messages.elsewhere(reconnect))
                case list() as segments:
                    await self._write_segments(segments)
                case None:
                    break
                case other:
                    assert_never(other)

    async def _write_segments(self, segments: list[Segment]) -> None:
        waiting: list[bytes] = []
        size = 0
        last_seq = self.sent
        for segment in segments:
            async for frames, seq in self.messages.segment(segment):
                waiting.append(frames)
                size += len(frames)
                last_seq = seq
                if size >= _WRITE_BYTES:
                    await self._write_joined(waiting, last_seq)
                    waiting, size = [], 0
        if waiting:
            await self._write_joined(waiting, last_seq)

    async def _write_joined(self, frames: list[bytes], last_seq: int) -> None:
        self._put(frames[0] if len(frames) == 1 else b"".join(frames))
        # Noted before the wait, out of which a stopping server takes the handler.
        self.sent = last_seq
        await self.connection.drained()

    async def write(self, frames: bytes) -> None:
        """Write framed messages and wait until the client took enough of them."""
        self._put(frames)
        await self.connection.drained()

    def _put(self, frames: bytes) -> None:
        if frames:
            self.connection.write(frames)

    def reason(self, close: Close) -> str:
        """A close's reason: the cursor, if the reader is to come back with it."""
        return f"after={self.sent}" if close.reconnect in _COME_BACK else ""
