"""Errors as callers of Connect get them.

The one table (`server.wire.problems`) defines them. Two more have no error in the domain: grpc itself makes
them over gRPC.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2

from server.http.errors import error_headers
from server.wire.problem_details import grpc_status
from server.wire.rendering import message_dict

#: Connect's name and HTTP status of each code.
CODES = {
    code_pb2.CANCELLED: ("canceled", 499),
    code_pb2.UNKNOWN: ("unknown", 500),
    code_pb2.INVALID_ARGUMENT: ("invalid_argument", 400),
    code_pb2.DEADLINE_EXCEEDED: ("deadline_exceeded", 504),
    code_pb2.NOT_FOUND: ("not_found", 404),
    code_pb2.ALREADY_EXISTS: ("already_exists", 409),
    code_pb2.PERMISSION_DENIED: ("permission_denied", 403),
    code_pb2.RESOURCE_EXHAUSTED: ("resource_exhausted", 429),
    code_pb2.FAILED_PRECONDITION: ("failed_precondition", 400),
    code_pb2.ABORTED: ("aborted", 409),
    code_pb2.OUT_OF_RANGE: ("out_of_range", 400),
    code_pb2.UNIMPLEMENTED: ("unimplemented", 501),
    code_pb2.INTERNAL: ("internal", 500),
    code_pb2.UNAVAILABLE: ("unavailable", 503),
    code_pb2.DATA_LOSS: ("data_loss", 500),
    code_pb2.UNAUTHENTICATED: ("unauthenticated", 401),
}


class ProtocolError(Exception):
    """An error that exists only in the protocols. code: a number of google.rpc.Code. http: its status, if it
    is not that of the code."""

    def __init__(self, code: int, message: str, *, http: int | None = None, **headers: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.http, self.headers = http or CODES[code][1], headers


def unknown_method() -> ProtocolError:
    """There is no such method."""
    return ProtocolError(code_pb2.UNIMPLEMENTED, "there is no method at this address", http=404)


def method_not_allowed(allow: str) -> ProtocolError:
    """The HTTP method is none of `allow`."""
    return ProtocolError(code_pb2.UNIMPLEMENTED, f"call this method by {allow}", http=405, allow=allow)


def unsupported_media_type(accepted: str) -> ProtocolError:
    """The content type is none of those that the method can be called with."""
    message = f"the content type must be one of {accepted}"
    headers = {"accept-post": accepted}
    return ProtocolError(code_pb2.UNIMPLEMENTED, message, http=415, **headers)


def compressed_request() -> ProtocolError:
    """The request is compressed."""
    return ProtocolError(code_pb2.UNIMPLEMENTED, "requests must not be compressed")


def deadline_exceeded() -> ProtocolError:
    """The call took longer than its caller allows."""
    return ProtocolError(code_pb2.DEADLINE_EXCEEDED, "the call took longer than its deadline allows")


def status_of(error: Exception, *, trace_id: str) -> status_pb2.Status:
    """The status of an error, with its details."""
    if not isinstance(error, ProtocolError):
        return grpc_status(error, trace_id=trace_id)
    detail = AnyMessage()
    detail.Pack(error_details_pb2.RequestInfo(request_id=trace_id))
    return status_pb2.Status(code=error.code, message=error.message, details=[detail])


def connect_error(status: status_pb2.Status) -> dict[str, Any]:
    """A status as Connect's JSON. `debug` shows a detail to people."""
    name, _ = CODES[status.code]
    return {
        "code": name,
        "message": status.message,
        "details": [_detail(detail) for detail in status.details],
    }


def http_of(error: Exception, status: status_pb2.Status) -> tuple[int, Mapping[str, str]]:
    """The HTTP status and the headers of an error outside of streams."""
    if isinstance(error, ProtocolError):
        return error.http, error.headers
    return CODES[status.code][1], error_headers(error)


def unpadded_base64(value: bytes) -> str:
    """A binary value as Connect's JSON has it, and as gRPC-Web's trailers do."""
    return b64encode(value).decode().rstrip("=")


def _detail(detail: AnyMessage) -> dict[str, Any]:
    shown = message_dict(detail)
    shown.pop("@type", None)
    return {
        "type": detail.TypeName(),
        "value": unpadded_base64(detail.value),
        "debug": shown,
    }
