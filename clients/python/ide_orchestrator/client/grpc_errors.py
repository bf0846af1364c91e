"""The errors for the statuses of gRPC calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2

from ide_orchestrator.client.errors import (
    Fault,
    HubError,
    NotAuthenticated,
    NotTrusted,
    Refused,
    Unavailable,
    class_of,
)
from ide_orchestrator.client.responses import retry_after_of
from ide_orchestrator.v1.review_pb2 import DraftMoved

#: The `domain` of the hub's google.rpc.ErrorInfo.
_DOMAIN = "ide-orchestrator"
_DETAILS = "grpc-status-details-bin"
#: What the library says of a server that answers in HTTP/1.1.
_NOT_HTTP2 = "Failed parsing HTTP/2"
#: What it says of a server whose certificate is not accepted, or is another's.
_NOT_TRUSTED = ("CERTIFICATE_VERIFY_FAILED", "is not in peer certificate")
_CLASSES: Mapping[grpc.StatusCode, type[HubError]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable,
    grpc.StatusCode.ABORTED: Unavailable,
    grpc.StatusCode.CANCELLED: Unavailable,
    # How the library reports a connection that broke in the middle of a response.
    grpc.StatusCode.INTERNAL: Unavailable,
    grpc.StatusCode.UNKNOWN: Unavailable,
    grpc.StatusCode.UNAUTHENTICATED: NotAuthenticated,
    grpc.StatusCode.DATA_LOSS: Fault,
}


def error_of(error: grpc.aio.AioRpcError) -> HubError:
    """The error for a call that failed: by the hub's details, else by its status."""
    code, trace_id = "", ""
    retry_after_s: float | None = None
    problem: dict[str, Any] = {}
    for detail in _details(error):
        if isinstance(detail, error_details_pb2.ErrorInfo) and detail.domain == _DOMAIN:
            code = detail.reason
            problem |= {
                name: int(value) if value.isdigit() else value for name, value in detail.metadata.items()
            }
        elif isinstance(detail, error_details_pb2.RequestInfo):
            trace_id = detail.request_id
        elif isinstance(detail, error_details_pb2.RetryInfo):
            retry_after_s = retry_after_of(detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9)
        elif isinstance(detail, error_details_pb2.BadRequest):
            problem["fields"] = {wrong.field: wrong.description for wrong in detail.field_violations}
        elif isinstance(detail, DraftMoved):
            problem |= MessageToDict(
                detail, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
    kind = class_of(code, _CLASSES.get(error.code(), Refused), retry_after_s)
    text = f"{error.code().name}: {error.details()}"
    if not code and any(words in text for words in _NOT_TRUSTED):
        kind = NotTrusted
    if not code and _NOT_HTTP2 in text:
        text = f"what listens there is not a gRPC port: is it the hub's HTTP port? ({text})"
    return kind(text, code=code, retry_after_s=retry_after_s, trace_id=trace_id, problem=problem)


def _details(error: grpc.aio.AioRpcError) -> list[Any]:
    """The details of kinds that are known."""
    found: list[Any] = []
    for name, value in error.trailing_metadata() or ():
        if name == _DETAILS and isinstance(value, bytes):
            for packed in status_pb2.Status.FromString(value).details:
                for kind in _KINDS:
                    if packed.Is(kind.DESCRIPTOR):
                        message = kind()
                        packed.Unpack(message)
                        found.append(message)
    return found


_KINDS: tuple[Any, ...] = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.RequestInfo,
    error_details_pb2.RetryInfo,
    error_details_pb2.BadRequest,
    DraftMoved,
)
