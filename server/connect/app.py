"""Connect and gRPC-Web: the services of the contract on the HTTP port, for browsers (ADR 0039).

A call reaches the same servicer as over gRPC, and the same connection, throttle and deadlines as a request of
the HTTP interface.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext

from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.types import HTTPScope, Receive, Scope, Send
from opentelemetry import trace

from server.connect.calls import Call, CallWriter
from server.connect.errors import ProtocolError, deadline_exceeded, http_of, status_of, unknown_method
from server.connect.methods import Method, methods
from server.connect.protocols import PROTOCOLS, protocol_of
from server.connect.requests import (
    RequestParser,
    check_headers,
    deadline_of,
    message_of_body,
    message_of_get,
    parameters_of_get,
    protocol_of_call,
)
from server.domain.fair_budget import WAIT_S, Reservation
from server.grpc.answers import begin_answer
from server.grpc.authentication import begin_call, operation_of, readable_by_share_link
from server.grpc.unread_calls import UnreadCalls
from server.http.connection import ClientGone, SlowReader, connection_of
from server.http.errors import log_internal_error
from server.http.request_throttle import RequestThrottle
from server.http.slow_readers import reset_slow_reader
from server.http.websocket_protocol import BODY_DEADLINE_S
from server.use_cases import UseCases
from server.wire.trace_ids import trace_id_of

#: The protocol of an error whose caller has named none that the method can be called by.
_DEFAULT_PROTOCOL = PROTOCOLS["application/json"]


class ConnectApp:
    """The ASGI application. throttle: that of the HTTP interface. dev: log the texts of internal errors."""

    def __init__(self, use_cases: UseCases, throttle: RequestThrottle, *, dev: bool = False) -> None:
        self._authenticator = use_cases.authenticator
        self._outgoing, self._incoming = use_cases.outgoing, use_cases.incoming
        self._readers, self._throttle, self._dev = use_cases.readers, throttle, dev
        self._methods = methods(use_cases, CallWriter(use_cases.readers))
        self._unread = UnreadCalls(use_cases.cut_offs, deadline_s=BODY_DEADLINE_S)
        self._parser = RequestParser(use_cases.refused_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        assert scope["type"] == ScopeType.HTTP
        headers = Headers.from_scope(scope)
        protocol = protocol_of(headers.get("content-type", "")) or _DEFAULT_PROTOCOL
        connection = connection_of(scope)  # type: ignore[arg-type]
        call = Call(protocol, connection, send, trace_id=trace_id_of(headers))
        try:
            try:
                await self._serve(call, headers, scope, receive)
            except ClientGone:
                raise
            except Exception as error:
                await self._fail(call, error, scope["path"])
        except SlowReader:
            reset_slow_reader(connection, self._readers, call.protocol.name, trace_id=call.trace_id)
        except ClientGone:
            connection.abort()

    async def _fail(self, call: Call, error: Exception, path: str) -> None:
        if not isinstance(error, ProtocolError):
            log_internal_error(error, trace_id=call.trace_id, path_template=path, dev=self._dev)
        status = status_of(error, trace_id=call.trace_id)
        await call.fail(status, *http_of(error, status))

    async def _serve(self, call: Call, headers: Headers, scope: HTTPScope, receive: Receive) -> None:
        method = self._methods.get(scope["path"])
        if method is None:
            raise unknown_method()
        trace.get_current_span().update_name(f"{scope['method']} {method.path}")
        if not call.protocol.serves(streaming=method.streaming):
            # Its envelopes, and 200 before an error in them, belong to the other kind of method.
            call.protocol = _DEFAULT_PROTOCOL
        parameters = parameters_of_get(method, scope["method"], scope["query_string"])
        call.protocol = protocol_of_call(method, scope["method"], headers, parameters)
        check_headers(call.protocol, headers)
        try:
            async with asyncio.timeout(deadline_of(call.protocol, headers)) as deadline:
                await self._answer(call, method, headers, scope, receive, parameters)
        except TimeoutError:
            if deadline.expired():
                raise deadline_exceeded() from None
            raise

    async def _answer(
        self,
        call: Call,
        method: Method,
        headers: Headers,
        scope: HTTPScope,
        receive: Receive,
        parameters: Mapping[str, bytes] | None,
    ) -> None:
        identify = self._authenticator.authenticate_headers(
            headers.getall("authorization", []),
            read_only=readable_by_share_link(method.path),
            operation=operation_of(method.path),
        )
        caller = await self._throttle.identified(scope, identify)
        who = begin_call(caller)
        wait_s = None if method.streaming else WAIT_S
        with (
            Reservation(self._incoming, caller.memory_id, wait_s=WAIT_S) as room,
            Reservation(self._outgoing, caller.memory_id, wait_s=wait_s) as reservation,
        ):
            if parameters is not None:
                raw = message_of_get(parameters)
            else:
                raw = await self._unread.request(
                    lambda: message_of_body(call.protocol, receive), who.caller, who.unread, room
                )
            request = await self._parser.parse(method, call.protocol, raw, caller)
            del raw
            begin_answer(reservation, call.protocol.form)
            call.connection.reservation = reservation
            try:
                await self._run(call, method, request, reservation)
            finally:
                call.connection.reservation = None

    @staticmethod
    async def _run(call: Call, method: Method, request: object, reservation: Reservation) -> None:
        # A stream ends with its connection, and when the server stops.
        with call.connection.streaming() if method.streaming else nullcontext():
            answer = await method.call(request, call)
        if answer is None:
            await call.end()
            return
        if not isinstance(answer, bytes):
            answer = await call.protocol.form.message(answer)
        reservation.resize_now(len(answer))
        await call.answer(answer)
