"""Answers under the rules of streams: counted while they wait to be read, and under the readers' deadline.

grpc gives a unary answer no deadline. On the wire it is a stream of one message, so it is sent as that.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio

from server.domain.errors import ClientTooSlow
from server.domain.outgoing import WAIT_S, OutgoingBudget, Reservation
from server.grpc.authentication import Context, caller, is_public
from server.grpc.interceptors import Continuation, Handler
from server.grpc.writing import MessageWriter
from server.wire.event_forms import PROTO, MessageForm

_reservation: ContextVar[Reservation] = ContextVar("reservation")
_form: ContextVar[MessageForm] = ContextVar("form", default=PROTO)


def begin_answer(reservation: Reservation, form: MessageForm = PROTO) -> None:
    """Set the reservation of the current call, and the form of its messages."""
    _reservation.set(reservation)
    _form.set(form)


def reserved() -> Reservation:
    """The reservation of the current call, for what it reads and sends."""
    return _reservation.get()


def message_form() -> MessageForm:
    """The form of the current call's messages."""
    return _form.get()


class Answers(grpc.aio.ServerInterceptor):
    """Gives each call a reservation until it has ended, and writes unary answers."""

    def __init__(self, outgoing: OutgoingBudget, writer: MessageWriter) -> None:
        self._outgoing, self._writer = outgoing, writer

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method's handler, which writes its messages itself."""
        handler = await continuation(handler_call_details)
        if handler is None or is_public(handler_call_details.method):
            return handler
        streaming = handler.response_streaming
        call: Any = handler.unary_stream if streaming else handler.unary_unary
        serialise: Any = handler.response_serializer

        async def answered(request: Any, context: Context) -> None:
            wait_s = None if streaming else WAIT_S
            # A call that its client does not read ends late: until then its last message is in memory.
            with Reservation(self._outgoing, caller().memory_id, wait_s=wait_s) as reservation:
                begin_answer(reservation)
                answer = await call(request, context)
                if streaming:
                    return
                data = answer if isinstance(answer, bytes) else serialise(answer)
                del answer
                reservation.resize_now(len(data))
                try:
                    await self._writer.write(context, data, reservation)
                except ClientTooSlow as slow:
                    del data
                    await self._writer.abort(context, slow)

        return grpc.unary_stream_rpc_method_handler(
            answered, request_deserializer=handler.request_deserializer, response_serializer=None
        )
