"""What surrounds every call: the peer's name, authentication, the limits of its request, the error table.

1. Every method needs a valid token, except those of health and reflection. Only these two services are named
   here, so a new method needs a token too.
2. A refusal does not wait for the request: a handler of grpc that takes one message would. Therefore every
   handler here takes a stream, and reads one message of it.
3. An error reaches the caller as a google.rpc.Status of the one table. A fault of the hub becomes INTERNAL
   without its text, which grpc itself would send.
4. A cancellation is always passed on: a handler that swallows it leaks (grpc issue 43360).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextvars import ContextVar
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from ide_orchestrator.v1 import proposal_pb2, refinement_pb2
from server.auth.authenticator import Authenticator
from server.domain.errors import HubError, InvalidArgument
from server.domain.model import Principal
from server.grpc.public_streams import PublicStreams
from server.grpc.transport import check_peer
from server.grpc.unread_calls import Group, UnreadCalls
from server.use_cases import READABLE_BY_SHARE_LINK
from server.wire.problem_details import grpc_status
from server.wire.trace_ids import trace_id_of
from server.wire.workflows import MAX_DEFINITION_MESSAGE_BYTES, check_definition_size

log = structlog.stdlib.get_logger("server.grpc")

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]]

#: Calls, whose request has not arrived, of the callers that are one for the quotas, and of one of them.
MAX_UNREAD, MAX_UNREAD_OF_ONE = 400, 200
#: The same for calls that need no token, of all connections and of one.
_STRANGERS = Group("strangers", 400, 50)

#: Services that anyone may call.
PUBLIC_SERVICES = frozenset(
    str(file.services_by_name[name].full_name)
    for file, name in (
        (health_pb2.DESCRIPTOR, "Health"),
        (reflection_pb2.DESCRIPTOR, "ServerReflection"),
    )
)

#: The same by the path of a call.
_READABLE_BY_SHARE_LINK = frozenset(
    f"/{service.full_name}/{name}"
    for file in (refinement_pb2.DESCRIPTOR, proposal_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for name in READABLE_BY_SHARE_LINK & {method.name for method in service.methods}
)

_caller: ContextVar[Principal] = ContextVar("caller")


def caller() -> Principal:
    """The caller of the current call."""
    return _caller.get()


def call_trace_id(context: Context) -> str:
    """The trace id of a call."""
    metadata = context.invocation_metadata() or ()
    return trace_id_of({key: value for key, value in metadata if isinstance(value, str)})


def is_public(method: str) -> bool:
    """Whether anyone may call the method, `/package.Service/Method`."""
    return method[1:].partition("/")[0] in PUBLIC_SERVICES


class Authentication:
    """Who calls: the peer, by the name in its certificate, then the caller. `peers`: names that may call;
    empty for all."""

    def __init__(self, authenticator: Authenticator, peers: frozenset[str] = frozenset()) -> None:
        self._authenticator, self._peers = authenticator, peers

    async def __call__(self, method: str, context: Context) -> tuple[Hashable, Group]:
        """Who has to send the request, and with whom it is counted; a stranger is its connection.

        Raises Unauthenticated, PermissionDenied, KeysUnavailable, DatabaseUnavailable.
        """
        check_peer(context.auth_context(), self._peers)
        if is_public(method):
            return context.peer(), _STRANGERS
        metadata = context.invocation_metadata() or ()
        headers = [str(value) for key, value in metadata if key == "authorization"]
        principal = await self._authenticator.authenticate_headers(
            headers, read_only=method in _READABLE_BY_SHARE_LINK
        )
        _caller.set(principal)
        return principal.user_id, Group(principal.quota_id, MAX_UNREAD, MAX_UNREAD_OF_ONE)


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
        identify: Callable[[str, Context], Awaitable[tuple[Hashable, Group]]],
        unread: UnreadCalls,
        public_streams: PublicStreams,
    ) -> None:
        self._identify, self._unread, self._public_streams = identify, unread, public_streams

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method's handler, as one that takes a stream of raw bytes.

        An unknown method is UNIMPLEMENTED, with or without a token: tools try several versions of reflection,
        and need this answer.
        """
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        if handler.request_streaming:
            return self._exchange(handler, method)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._call(handler, method))
        return grpc.stream_unary_rpc_method_handler(self._call(handler, method))

    def _call(self, handler: Handler, method: str) -> Callable[[object, Context], Awaitable[bytes | None]]:
        """The behaviour of a method that takes one message."""
        # Each of these is optional in grpc's types; generated code sets them all.
        call: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary
        parse: Any = handler.request_deserializer
        serialise: Any = handler.response_serializer
        public_stream = handler.response_streaming and is_public(method)

        async def guarded(_: object, context: Context) -> bytes | None:
            try:
                who, group = await self._identify(method, context)
                request = _parsed(parse, await self._unread.request(context.read, who, group))
                with self._public_streams.place(who) if public_stream else contextlib.nullcontext():
                    answer = await call(request, context)
                # A stream has written its messages itself.
                return answer if answer is None or isinstance(answer, bytes) else serialise(answer)
            except grpc.aio.BaseError:
                raise
            except Exception as error:
                await _abort(context, error, method)

        return guarded

    def _exchange(self, handler: Handler, method: str) -> Handler:
        """The handler of reflection, which takes any number of messages."""
        call: Any = handler.stream_stream

        async def guarded(requests: object, context: Context) -> AsyncIterator[object]:
            try:
                who, _ = await self._identify(method, context)
                with self._public_streams.place(who):
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


def _parsed(parse: Callable[[bytes], Any], raw: bytes) -> Any:
    if len(raw) > MAX_DEFINITION_MESSAGE_BYTES:
        check_definition_size(raw)
    try:
        return parse(raw)
    except DecodeError:
        raise InvalidArgument({"body": "must be a serialised message of this method's request"}) from None


async def _abort(context: Context, error: Exception, method: str) -> NoReturn:
    trace_id = call_trace_id(context)
    if not isinstance(error, HubError):
        log.error("grpc_call_failed", method=method, trace_id=trace_id, exc_info=error)
    await context.abort_with_status(rpc_status.to_status(grpc_status(error, trace_id=trace_id)))
    raise AssertionError("abort raises")
