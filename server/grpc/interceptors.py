"""The interceptors of every call: the error table around it, then authentication.

1. Every method needs a valid token, except those of health and reflection. Only these two services are named
   here, so a new method needs a token too.
2. An error reaches the caller as a google.rpc.Status of the one table. A fault of the hub becomes INTERNAL
   without its text, which grpc itself would send.
3. A cancellation is always passed on: a handler that swallows it leaks (grpc issue 43360).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
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
from server.grpc.transport import check_peer
from server.use_cases import READABLE_BY_SHARE_LINK
from server.wire.problem_details import grpc_status
from server.wire.trace_ids import trace_id_of

log = structlog.stdlib.get_logger("server.grpc")

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]]

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


def _is_public(method: str) -> bool:
    """Whether anyone may call the method, `/package.Service/Method`."""
    return method[1:].partition("/")[0] in PUBLIC_SERVICES


class Authentication(grpc.aio.ServerInterceptor):
    """Authenticates the caller before the request is read."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method's handler. Raises Unauthenticated, PermissionDenied, KeysUnavailable,
        DatabaseUnavailable.

        An unknown method is UNIMPLEMENTED, with or without a token: tools try several versions of reflection,
        and need this answer.
        """
        handler = await continuation(handler_call_details)
        if handler is not None and not _is_public(handler_call_details.method):
            headers = [
                str(value)
                for key, value in handler_call_details.invocation_metadata
                if key == "authorization"
            ]
            read_only = handler_call_details.method in _READABLE_BY_SHARE_LINK
            _caller.set(await self._authenticator.authenticate_headers(headers, read_only=read_only))
        return handler


class AsGeneratorInterceptor(grpc.aio.ServerInterceptor):
    """Turns streams, which write their messages themselves, into generators: OpenTelemetry's interceptor
    expects every stream to be one."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method's handler; a stream's as a generator that yields nothing."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler.response_streaming or _is_public(handler_call_details.method):
            return handler
        write: Any = handler.unary_stream

        async def _generated(raw: bytes, context: Context) -> AsyncIterator[bytes]:
            await write(raw, context)
            nothing: tuple[bytes, ...] = ()
            for message in nothing:
                yield message

        return grpc.unary_stream_rpc_method_handler(_generated)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns errors into the statuses of the one table. As the outermost interceptor, it sees all errors.

    It also parses and serialises instead of grpc, which would send the text of a failure. A handler may
    therefore return bytes, which are sent as they are. `peers`: names of the certificates that may call;
    empty for all.
    """

    def __init__(self, peers: frozenset[str] = frozenset()) -> None:
        self._peers = peers

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method's handler, with the table around it."""
        method = handler_call_details.method
        if _is_public(method):
            return await continuation(handler_call_details)
        try:
            handler = await continuation(handler_call_details)
        except Exception as error:
            return _refusal(error, method)
        # No handler: grpc answers UNIMPLEMENTED.
        return handler and _guarded(handler, method, self._peers)


def _refusal(error: Exception, method: str) -> Handler:
    """A handler that ignores the request."""

    async def refuse(_: bytes, context: Context) -> NoReturn:
        await _abort(context, error, method)

    return grpc.unary_unary_rpc_method_handler(refuse)


def _guarded(handler: Handler, method: str, peers: frozenset[str]) -> Handler:
    """The handler with raw bytes on both sides. All our methods take one message."""
    # Each of these is optional in grpc's types; generated code sets them all.
    call: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary
    parse: Any = handler.request_deserializer
    serialise: Any = handler.response_serializer

    async def guarded(raw: bytes, context: Context) -> Any:
        try:
            check_peer(context.auth_context(), peers)
            answer = await call(_parsed(parse, raw), context)
            # A stream has written its messages itself.
            return answer if answer is None or isinstance(answer, bytes) else serialise(answer)
        except grpc.aio.BaseError:
            raise
        except Exception as error:
            await _abort(context, error, method)

    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(guarded)
    return grpc.unary_unary_rpc_method_handler(guarded)


def _parsed(parse: Callable[[bytes], Any], raw: bytes) -> Any:
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
