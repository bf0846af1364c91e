"""WebSocket `/api/ws/refinements/{thread_id}`: authentication, then a thread's events until the last.

1. An error before the upgrade is answered as a problem. A thread that belongs to another user and one that
   does not exist both get 403.
2. A stream ends after the terminal event (1000), when the client closes it, or with a close code from the one
   table. The reason has the cursor if reconnecting makes sense.
3. A reader that takes too little for too long is closed with 4408. The close follows the data that the reader
   has not taken; if the reader does not take that either, the connection is reset (ADR 0006). So is one that
   answers no ping.
4. An open stream outlasts an outage of the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import assert_never

from litestar.datastructures import Headers
from litestar.types import Receive, Scope, Send

from server.domain.access.stream_authorization import StreamAuthorization
from server.domain.errors import HubError, NotFound, PermissionDenied, ShuttingDown, Unauthenticated
from server.domain.fair_budget import Reservation
from server.domain.journal.segments import Segment
from server.domain.streams.live_end import LiveForm
from server.domain.streams.steps import Heartbeat, ReconnectElsewhere
from server.domain.streams.subscription import Subscription
from server.http.connection import (
    HIGH_WATER_BYTES,
    ClientGone,
    Connection,
    NoPong,
    Pace,
    SlowReader,
    connection_of,
)
from server.http.cors import ORIGIN_REFUSED
from server.http.errors import log, log_internal_error, place_of, refuse_upgrade
from server.http.event_encoders import MAX_SHARED_WRITE_BYTES, Encoder, encoder_of
from server.http.handshake import form_of
from server.http.multicast import Multicast
from server.http.options import HttpOptions
from server.http.request_throttle import RequestThrottle
from server.http.slow_readers import note_slow_reader
from server.http.stream_callers import FORBIDDEN, StreamCallers, query_of
from server.http.token_refresh import TokenRefresh
from server.http.websocket_frames import close_frame, frames_of
from server.use_cases import UseCases
from server.wire.addresses import SOCKET_PATH
from server.wire.event_queries import SocketQuery
from server.wire.problem_details import detail_of
from server.wire.problems import (
    CLOSE_DONE,
    CLOSE_SLOW_READER,
    INTERNAL,
    Close,
    problem_of,
)
from server.wire.trace_ids import trace_id_of
from server.wire.validation import uuid_or_not_found

#: Small messages are written together, up to this size.
_WRITE_BYTES = HIGH_WATER_BYTES


class RefinementSocket:
    """The handler of the address's WebSockets."""

    def __init__(self, use_cases: UseCases, throttle: RequestThrottle, options: HttpOptions) -> None:
        self._use_cases, self._throttle, self._options = use_cases, throttle, options
        self._new_group = partial(Multicast, options.send_to_all)
        self._callers = StreamCallers(use_cases, query_token=options.query_token)

    async def serve(self, thread_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One socket, from its upgrade request until it is open. Its stream then goes on without the request,
        and all that the application keeps for it: 15 KB a reader."""
        await receive()
        headers = Headers.from_scope(scope)
        trace_id = trace_id_of(headers)
        try:
            subprotocol, subscription, encoder = await self._subscribe(thread_id, scope, headers, trace_id)
        except Exception as error:
            log_internal_error(error, trace_id=trace_id, path_template=SOCKET_PATH, dev=self._options.dev)
            await refuse_upgrade(scope, send, error, trace_id=trace_id)
            return
        connection = connection_of(scope)  # type: ignore[arg-type]
        try:
            await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
        except BaseException as error:
            subscription.close()
            if isinstance(error, ClientGone | OSError):
                return
            raise
        stream = _Stream(connection, subscription, encoder, self._new_group)
        connection.after_opening = partial(self._follow, stream, thread_id, trace_id)

    async def _follow(self, stream: _Stream, thread_id: str, trace_id: str, send: Send) -> None:
        """The stream, to its close."""
        form, thread = stream.encoder.form.value, stream.subscription.topic.thread_id
        self._use_cases.readers.opened(form, thread)
        try:
            await self._serve(stream, send, thread_id, trace_id)
        except (ClientGone, OSError):
            pass  # ASGI raises an OSError when the connection is lost
        finally:
            self._use_cases.readers.closed(form, thread)
            stream.subscription.close()

    async def _subscribe(
        self, thread_id: str, scope: Scope, headers: Headers, trace_id: str
    ) -> tuple[str | None, Subscription, Encoder]:
        use_cases = self._use_cases
        if not use_cases.refinements.accepting:
            raise ShuttingDown
        origins = headers.getall("origin", [])
        if not self._options.origins.allow_request(origins):
            self._options.origin_log.refused(trace_id=trace_id, dev=self._options.dev)
            raise PermissionDenied(ORIGIN_REFUSED)
        offered: list[str] = list(scope["subprotocols"])  # type: ignore[typeddict-item]
        principal = await self._throttle.identified(
            scope,
            self._callers.of_socket(thread_id, scope, offered),
        )
        reservation = Reservation(use_cases.outgoing, principal.memory_id)
        connection_of(scope).reservation = reservation  # type: ignore[arg-type]
        query = SocketQuery.model_validate({name: values[0] for name, values in query_of(scope).items()})
        form, subprotocol = form_of(offered)
        try:
            thread = uuid_or_not_found(thread_id, "refinement")
            subscription = await use_cases.refinements.follow(principal, thread, query.after, reservation)
        except NotFound:
            raise PermissionDenied(FORBIDDEN) from None
        return subprotocol, subscription, encoder_of(form, subscription, query.message_limit)

    async def _serve(self, stream: _Stream, send: Send, thread_id: str, trace_id: str) -> None:
        """Follow to the end, and close. Raises ClientGone, OSError."""
        try:
            close = await self._run(stream, thread_id, trace_id)
            # The close follows the other data, and ASGI's close has no deadline.
            await stream.connection.drain()
        # Not left to `serve`, like other errors of its base ClientGone: a slow reader can still be closed.
        except SlowReader as error:
            event = "no_pong" if isinstance(error, NoPong) else "slow_reader"
            note_slow_reader(
                self._use_cases.readers, "websocket", event=event, thread_id=thread_id, trace_id=trace_id
            )
            stream.connection.write(close_frame(CLOSE_SLOW_READER.code, stream.reason(CLOSE_SLOW_READER)))
            return
        await send({"type": "websocket.close", "code": close.code, "reason": stream.reason(close)})

    async def _run(self, stream: _Stream, thread_id: str, trace_id: str) -> Close:
        """Follow to the end. Returns how to close. Raises ClientGone."""
        now = asyncio.get_running_loop().time
        refresh = TokenRefresh(self._use_cases.authenticator, stream.authorization, now)
        stream.connection.on_message = refresh.on_message
        try:
            with stream.connection.streaming():
                await stream.follow()
        except ClientGone:  # also SlowReader: `_serve` closes
            raise
        except Exception as error:
            return await self._close_for(stream, error, thread_id, trace_id)
        finally:
            refresh.close()
        return CLOSE_DONE

    async def _close_for(self, stream: _Stream, error: Exception, thread_id: str, trace_id: str) -> Close:
        problem = problem_of(error)
        if isinstance(error, Unauthenticated | PermissionDenied):
            # Not an error in legacy frames: there it would read as an error of the run.
            log.info("authorization_ended", error=problem.code, thread_id=thread_id, trace_id=trace_id)
        elif not isinstance(error, ShuttingDown):
            context = problem.code if isinstance(error, HubError) else INTERNAL.code
            log.error(
                "stream_failed",
                context=context,
                error=type(error).__name__,
                where=place_of(error),
                thread_id=thread_id,
                trace_id=trace_id,
            )
            if not stream.in_message:
                await stream.write(stream.encoder.error(detail_of(error), context))
        return problem.close


class _Stream:
    """Writes the events of a subscription to one client."""

    def __init__(
        self,
        connection: Connection,
        subscription: Subscription,
        encoder: Encoder,
        new_group: Callable[[], Multicast],
    ) -> None:
        self.connection, self.encoder, self._new_group = connection, encoder, new_group
        self.subscription = subscription
        #: Seq of the last event that was written here.
        self._sent = subscription.cursor
        #: Whether more of a message follows, so that no other one may be written.
        self.in_message = False

    @property
    def sent(self) -> int:
        """Seq of the last event that was written."""
        return max(self._sent, self.subscription.sent_while_waiting)

    @property
    def authorization(self) -> StreamAuthorization:
        """The reader's authorization."""
        assert self.subscription.authorization is not None
        return self.subscription.authorization

    async def follow(self) -> None:
        """Write everything until the terminal event. Raises ClientGone, SlowReader."""
        await self.write(self.encoder.hello(self.subscription.topic.head))
        key = (self.encoder.form, self.encoder.max_message_bytes)
        self.subscription.live_form = LiveForm(
            key, self.encoder.at_hand, self.encoder.shared_heartbeat, self.connection, self._new_group
        )
        while await self._write_step():
            pass

    async def _write_step(self) -> bool:
        """Write the next step. Returns whether there was one. Nothing refers to it afterwards: a reader that
        waits for the next one would keep this one in memory, which is not counted any more."""
        match await self.subscription.step_when_available():
            case Heartbeat() as heartbeat:
                await self.write(self.encoder.heartbeat(heartbeat))
            case ReconnectElsewhere() as reconnect:
                await self.write(self.encoder.reconnect(reconnect))
            case list() as segments:
                await self._write_segments(segments)
            case None:
                return False
            case other:
                assert_never(other)
        return True

    async def _write_segments(self, segments: list[Segment]) -> None:
        if len(segments) == 1:
            # At the live end, all readers but the first find what to write.
            made = segments[0].made(self.encoder.form)
            if made is not None and len(made) <= MAX_SHARED_WRITE_BYTES:
                await self._write_joined([made], segments[0].last_seq)
                return
        waiting: list[bytes] = []
        size = 0
        last_seq = self.sent
        pace: Pace | None = None
        # Taken off the list, so that a slow reader keeps nothing of what it already got.
        segments.reverse()
        while segments:
            async for frames, seq in self.encoder.segment(segments.pop()):
                if len(frames) > MAX_SHARED_WRITE_BYTES:
                    if waiting:
                        await self._write_joined(waiting, last_seq)
                        waiting, size = [], 0
                    await self._write_large(frames)
                    self._sent = last_seq = seq
                    continue
                waiting.append(frames)
                size += len(frames)
                # A part of a message that is made while it is written.
                self.in_message = seq == last_seq
                last_seq = seq
                if size >= _WRITE_BYTES:
                    await self._write_joined(waiting, last_seq)
                    pace = (pace or Pace(self.connection)) if self.in_message else None
                    if pace is not None:
                        await pace.drain(size)
                    waiting, size = [], 0
        if waiting:
            await self._write_joined(waiting, last_seq)

    async def _write_joined(self, frames: list[bytes], last_seq: int) -> None:
        self._put(frames[0] if len(frames) == 1 else b"".join(frames))
        # Set before the wait, which a stopping server cancels.
        self._sent = last_seq
        await self.connection.drain()

    async def _write_large(self, message: bytes) -> None:
        """Write a large message frame by frame. Until the last one, the reader does not have it."""
        pace = Pace(self.connection)
        for frame in frames_of(message):
            self._put(frame)
            await pace.drain(len(frame))

    async def write(self, frames: bytes) -> None:
        """Write framed messages and wait until the client has taken enough of them."""
        self._put(frames)
        await self.connection.drain()

    def _put(self, frames: bytes) -> None:
        if frames:
            self.connection.write(frames)

    def reason(self, close: Close) -> str:
        """The reason of a close: the cursor, if the reader should reconnect with it."""
        return f"after={self.sent}" if close.gives_cursor else ""
