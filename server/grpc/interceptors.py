"""What surrounds every call: authentication, the limits of its calls and requests, the error table.

1. A refusal does not wait for the request: a handler of grpc that takes one message would. Therefore every
   handler here takes a stream, and reads one message of it.
2. It waits for its turn like every other call, when its client makes many.
3. An error reaches the caller as a google.rpc.Status of the one table. A fault of the hub becomes INTERNAL
   without its text, which grpc itself would send.
4. A cancellation is always passed on: a handler that swallows it leaks (grpc issue 43360).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from server.domain.access.throttle import Counted
from server.domain.errors import HubError, InvalidArgument, LimitReached, PermissionDenied, Unauthenticated
from server.domain.fair_budget import WAIT_S, FairBudget, Reservation
from server.grpc.admission import UNKNOWN_METHODS, Admission
from server.grpc.authentication import Context, Identity, is_public, refused
from server.grpc.call_ends import waiting
from server.grpc.peers import Peers
from server.grpc.public_streams import PublicStreams
from server.grpc.unread_calls import UnreadCalls
from server.wire.problem_details import grpc_status
from server.wire.request_size import check_request_size
from server.wire.trace_ids import trace_id_of

log = structlog.stdlib.get_logger("server.grpc")

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]]


def call_trace_id(context: Context) -> str:
    """The trace id of a call."""
    metadata = context.invocation_metadata() or ()
    return trace_id_of({key: value for key, value in metadata if isinstance(value, str)})


class AsGeneratorInterceptor(grpc.aio.ServerInterceptor):
    """Turns streams, which write their messages themselves, into generators: OpenTelemetry's interceptor
    expects every stream to be one."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method's handler; a stream's as a generator that yields nothing."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler.response_streaming or is_public(handler_call_details.method):
            return handler
        write: Any = handler.stream_stream

        async def _generated(requests: object, context: Context) -> AsyncIterator[bytes]:
            await write(requests, context)
            nothing: tuple[bytes, ...] = ()
            for message in nothing:
                yield message

        return grpc.stream_stream_rpc_method_handler(_generated)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Identifies the caller, receives the request, and turns errors into the statuses of the one table.

    It also parses and serialises instead of grpc, which would send the text of a failure. A handler may
    therefore return bytes, which are sent as they are. `identify`: as `Authentication`.
    """

    def __init__(
        self,
        identify: Callable[[str, Context], Awaitable[Identity]],
        peers: Peers,
        admission: Admission,
        unread: UnreadCalls,
        public_streams: PublicStreams,
        incoming: FairBudget,
    ) -> None:
        self._identify, self._peers, self._admission = identify, peers, admission
        self._unread, self._public_streams = unread, public_streams
        self._incoming = incoming
        #: Handlers by method, made at its first call.
        self._handlers: dict[str, Handler] = {}
        self._unknown: Handler = grpc.stream_unary_rpc_method_handler(self._refuse_unknown)

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method's handler, as one that takes a stream of raw bytes.

        An unknown method is UNIMPLEMENTED, with or without a token: tools try several versions of reflection,
        and need this answer.
        """
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None:
            found = await continuation(handler_call_details)
            if found is None:
                return self._unknown
            handler = self._handlers[method] = self._surrounded(found, method)
        return handler

    def _surrounded(self, handler: Handler, method: str) -> Handler:
        if handler.request_streaming:
            return self._exchange(handler, method)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._call(handler, method))
        return grpc.stream_unary_rpc_method_handler(self._call(handler, method))

    async def _refuse_unknown(self, _: object, context: Context) -> bytes:
        """The behaviour of all methods that do not exist."""
        self._peers.meet(context.peer())
        with waiting(), suppress(LimitReached):
            await self._turn(UNKNOWN_METHODS, context)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        raise AssertionError("abort raises")

    async def _identified(self, method: str, context: Context) -> Identity:
        """Who calls, once it is the call's turn. Raises as `identify`, and LimitReached."""
        with waiting():
            try:
                who = await self._identify(method, context)
            except (Unauthenticated, PermissionDenied):
                await self._turn(refused(context), context)
                raise
            await self._turn(who.rates, context)
            return who

    async def _turn(self, counted: Counted, context: Context) -> None:
        """Wait for a call's turn. Raises LimitReached."""
        try:
            await self._admission.wait(counted)
        except LimitReached:
            self._peers.exceed(context.peer())
            raise

    def _call(self, handler: Handler, method: str) -> Callable[[object, Context], Awaitable[bytes | None]]:
        """The behaviour of a method that takes one message."""
        # Each of these is optional in grpc's types; generated code sets them all.
        call: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary
        parse: Any = handler.request_deserializer
        serialise: Any = handler.response_serializer
        public_stream = handler.response_streaming and is_public(method)

        async def answered(context: Context) -> bytes | None:
            who = await self._identified(method, context)
            self._admission.admit(context)
            with Reservation(self._incoming, who.memory, wait_s=WAIT_S) as room:
                # Not as a variable, which would keep the bytes as long as a stream is open.
                request = parse_request(
                    parse, await self._unread.request(context.read, who.caller, who.unread, room)
                )
                if public_stream:
                    with self._public_streams.place(who.caller):
                        answer = await call(request, context)
                else:
                    answer = await call(request, context)
            # A stream has written its messages itself.
            return answer if answer is None or isinstance(answer, bytes) else serialise(answer)

        async def guarded(_: object, context: Context) -> bytes | None:
            try:
                return await answered(context)
            except grpc.aio.BaseError:
                raise
            except Exception as error:
                failure = error
            # Not in the handler above, which would make the failure the context of what abort raises.
            return await _abort(context, failure, method)

        return guarded

    def _exchange(self, handler: Handler, method: str) -> Handler:
        """The handler of reflection, which takes any number of messages."""
        call: Any = handler.stream_stream

        async def guarded(requests: object, context: Context) -> AsyncIterator[object]:
            try:
                who = await self._identified(method, context)
                self._admission.admit(context)
                with self._public_streams.place(who.caller):
                    async for answer in call(requests, context):
                        yield answer
            except grpc.aio.BaseError:
                raise
            except Exception as error:
                await _abort(context, error, method)

        return grpc.stream_stream_rpc_method_handler(
            guarded,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


#: Bytes of a request from which on only what the contract knows of it is kept.
_CLEANED_BYTES = 4 << 10


def parse_request(parse: Callable[[bytes], Any], raw: bytes) -> Any:
    """The message of a request, without fields that the contract does not have: a stream would keep them.
    Raises InvalidArgument."""
    check_request_size(raw)
    try:
        message = parse(raw)
    except DecodeError:
        raise InvalidArgument({"body": "must be a serialised message of this method's request"}) from None
    if len(raw) < _CLEANED_BYTES or not isinstance(message, Message):
        return message
    message.DiscardUnknownFields()
    # Their memory is given back with the message that was parsed.
    known = type(message)()
    known.CopyFrom(message)
    return known


async def _abort(context: Context, error: Exception, method: str) -> NoReturn:
    trace_id = call_trace_id(context)
    if not isinstance(error, HubError):
        log.error("grpc_call_failed", method=method, trace_id=trace_id, exc_info=error)
    # The call keeps what abort raises, and with it these frames, until the garbage collector finds the cycle.
    # The frames of the failure have the request, of up to 4 MiB.
    error.__traceback__ = error.__context__ = None
    await context.abort_with_status(rpc_status.to_status(grpc_status(error, trace_id=trace_id)))
    raise AssertionError("abort raises")
