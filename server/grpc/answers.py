"""Answers under the rules of streams: counted while they wait to be read, and under the readers' deadline.

grpc sends a unary answer and its status together, in one batch of operations, and gives them no deadline.
Therefore the call's end, and not its handler's, gives back what the answer has in use.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio

from server.domain.fair_budget import WAIT_S, FairBudget, Reservation
from server.grpc.authentication import Context, caller, is_public
from server.grpc.interceptors import Continuation, Handler
from server.grpc.writing import GrpcWriter
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
    """Gives each call a reservation until it has ended."""

    def __init__(self, outgoing: FairBudget, writer: GrpcWriter) -> None:
        self._outgoing, self._writer = outgoing, writer

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method's handler, whose answer is serialised; a stream writes its messages itself."""
        handler = await continuation(handler_call_details)
        if handler is None or is_public(handler_call_details.method):
            return handler
        streaming = handler.response_streaming
        call: Any = handler.unary_stream if streaming else handler.unary_unary
        serialise: Any = handler.response_serializer

        async def streamed(request: Any, context: Context) -> None:
            with Reservation(self._outgoing, caller().memory_id) as reservation:
                begin_answer(reservation)
                await call(request, context)

        async def answered(request: Any, context: Context) -> bytes:
            reservation = Reservation(self._outgoing, caller().memory_id, wait_s=WAIT_S)
            try:
                begin_answer(reservation)
                answer = await call(request, context)
                data = answer if isinstance(answer, bytes) else serialise(answer)
                reservation.resize_now(len(data))
                return await self._writer.answer(context, data, reservation)
            except BaseException:
                reservation.close()
                raise

        if streaming:
            return grpc.unary_stream_rpc_method_handler(
                streamed, request_deserializer=handler.request_deserializer, response_serializer=None
            )
        return grpc.unary_unary_rpc_method_handler(
            answered, request_deserializer=handler.request_deserializer, response_serializer=None
        )
