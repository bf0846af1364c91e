"""Errors as callers get them: problem details over HTTP (RFC 9457), google.rpc.Status over gRPC."""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from server.domain import errors
from server.encoding.json_text import replace_surrogates
from server.wire.addresses import problem_url
from server.wire.conflicts import draft_moved_members, draft_moved_message
from server.wire.problems import problem_of

#: The `domain` of google.rpc.ErrorInfo.
DOMAIN = "ide-orchestrator"
#: Maximum bytes of a status's message. It is sent twice, once with up to three bytes for each, and clients
#: accept metadata of 8 KiB by default.
MAX_MESSAGE_BYTES = 1024
#: The media type of `problem_json`.
MEDIA_TYPE = "application/problem+json"


def detail_of(error: BaseException) -> str:
    """The text of an error for callers."""
    if isinstance(error, errors.HubError):
        return replace_surrogates(error.message)
    return "the hub failed; its logs have the details, by trace id"


def problem_json(error: BaseException, *, instance: str, trace_id: str) -> dict[str, Any]:
    """The problem details of an error (RFC 9457).

    instance: the request's path, without its query. Members beyond the RFC's: code, trace_id, error;
    fields of a wrong request; floor and last_seq for a cursor outside the journal; proposal_id of a start
    that failed or is in progress; the conflicts of a draft that has moved.
    """
    problem = problem_of(error)
    details: dict[str, Any] = {
        "type": problem_url(problem.code),
        "title": problem.title,
        "status": problem.http,
        "detail": detail_of(error),
        "instance": instance,
        "code": problem.code,
        "trace_id": trace_id,
        "error": problem.error,
    }
    if isinstance(error, errors.InvalidArgument):
        details["fields"] = {
            replace_surrogates(name): replace_surrogates(wrong) for name, wrong in error.fields.items()
        }
    if isinstance(error, errors.DraftMoved):
        details |= draft_moved_members(error)
    return details | _members(error)


def _members(error: BaseException) -> dict[str, int | str]:
    """An error's additional members, by name."""
    members: dict[str, int | str] = {}
    if isinstance(error, errors.CursorOutOfRange):
        members |= {"floor": error.floor, "last_seq": error.last_seq}
    if isinstance(error, errors.HubError) and error.proposal_id is not None:
        members["proposal_id"] = str(error.proposal_id)
    return members


def grpc_status(error: BaseException, *, trace_id: str) -> status_pb2.Status:
    """The status of an error with google.rpc.ErrorInfo and RequestInfo, and BadRequest, RetryInfo or
    DraftMoved where they apply.

    ErrorInfo's reason is the `code` of the same error over HTTP, and its metadata has the other members. The
    trace id is RequestInfo's `request_id`.
    """
    problem = problem_of(error)
    info = error_details_pb2.ErrorInfo(reason=problem.code, domain=DOMAIN)
    details: list[Message] = [info, error_details_pb2.RequestInfo(request_id=trace_id)]
    info.metadata.update({name: str(value) for name, value in _members(error).items()})
    if isinstance(error, errors.InvalidArgument):
        violations = error_details_pb2.BadRequest()
        for name, wrong in error.fields.items():
            violations.field_violations.add(
                field=replace_surrogates(name), description=replace_surrogates(wrong)
            )
        details.append(violations)
    if isinstance(error, errors.HubError) and error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds = error.retry_after_s
        details.append(retry)
    if isinstance(error, errors.DraftMoved):
        details.append(draft_moved_message(error))
    message = detail_of(error).encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore")
    status = status_pb2.Status(code=problem.grpc, message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status
