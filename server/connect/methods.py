"""The methods of the contract: the same servicers as over gRPC, found by the path of a call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.grpc.services import DESCRIPTORS, add_services
from server.grpc.writing import MessageWriter
from server.use_cases import UseCases


@dataclass(frozen=True, slots=True)
class Method:
    """A method. path: `/package.Service/Method`. only_reads: it may be called by GET. call: takes the request
    and the call; returns the answer, which a stream does not have."""

    path: str
    request: type[Message]
    streaming: bool
    only_reads: bool
    call: Callable[[Any, Any], Awaitable[Message | bytes | None]]


class _Handlers:
    """What generated code adds the handlers of a service to, as to a server of grpc."""

    def __init__(self) -> None:
        self.by_path: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: generated code adds the same handlers by their names."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Keep the handlers of a service."""
        self.by_path |= {f"/{service}/{name}": handler for name, handler in handlers.items()}


def methods(use_cases: UseCases, writer: MessageWriter) -> dict[str, Method]:
    """All methods, by their paths."""
    handlers = _Handlers()
    add_services(use_cases, writer, cast(grpc.aio.Server, handlers))
    described = [method for service in DESCRIPTORS.values() for method in service.methods]
    return {method.path: method for method in (_method(each, handlers) for each in described)}


def _method(described: MethodDescriptor, handlers: _Handlers) -> Method:
    path = f"/{described.containing_service.full_name}/{described.name}"
    handler = handlers.by_path[path]
    return Method(
        path,
        GetMessageClass(described.input_type),
        described.server_streaming,
        described.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
        handler.unary_stream if described.server_streaming else handler.unary_unary,
    )
