"""Errors as answers: application/problem+json for the hub's errors, Litestar's and all others.

The one table (`server.wire.problems`) defines the answers. Four have no error in the domain, because they
exist only in HTTP: 405, 416, 426 and the 503 of `/readyz`.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import Scope, Send

from server.domain.errors import (
    HubError,
    InvalidArgument,
    NotFound,
    TooLarge,
    Unauthenticated,
)
from server.http.json_io import HubRequest
from server.http.methods import allow
from server.wire.addresses import problem_url
from server.wire.problem_details import MEDIA_TYPE, problem_json
from server.wire.problems import INTERNAL, problem_of
from server.wire.text import dumps
from server.wire.trace_ids import trace_id_of

log = structlog.stdlib.get_logger("server.http")


class HttpProblem(NamedTuple):
    """A kind of problem that exists only in HTTP."""

    status: int
    meaning: str


#: The problems that exist only in HTTP, by code.
HTTP_ONLY = {
    "method_not_allowed": HttpProblem(
        405, "The address does not support the method; `Allow` lists those that it does."
    ),
    "range_not_satisfiable": HttpProblem(
        416, "The range is outside the content; `Content-Range` has its size."
    ),
    "upgrade_required": HttpProblem(426, "The address is for WebSockets only."),
    "not_ready": HttpProblem(
        503, "The replica cannot serve now; `failing` names the checks that fail. Try again later."
    ),
}


class HttpError(Exception):
    """An error that exists only in HTTP."""

    def __init__(self, code: str, detail: str, headers: Mapping[str, str], **members: Any) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = HTTP_ONLY[code].status, code, detail, headers
        self.members = members

    def json(self, *, instance: str, trace_id: str) -> dict[str, Any]:
        """The problem details, with the members that every other problem has."""
        return {
            "type": problem_url(self.code),
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "trace_id": trace_id,
            "error": HTTPStatus(self.status).phrase,
            **self.members,
        }


def method_not_allowed(allow: str) -> HttpError:
    """405: `allow` lists the methods that are allowed."""
    return HttpError("method_not_allowed", "this address does not support this method", {"Allow": allow})


def upgrade_required() -> HttpError:
    """426: the address is for WebSockets."""
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    return HttpError("upgrade_required", "this address is for WebSockets only", headers)


def range_not_satisfiable(size: int) -> HttpError:
    """416: the range is outside the content, which has `size` bytes."""
    headers = {"Content-Range": f"bytes */{size}"}
    return HttpError("range_not_satisfiable", f"the content has {size} bytes", headers)


def not_ready(failing: list[str]) -> HttpError:
    """503: names the checks that fail."""
    headers = {"Retry-After": "1"}
    return HttpError("not_ready", "this replica cannot serve now", headers, failing=failing)


def to_hub_error(error: Exception) -> Exception:
    """The hub's error for one of Litestar's; any other error is returned unchanged."""
    if not isinstance(error, HTTPException):
        return error
    status = error.status_code
    if status == 404:
        return NotFound("there is no resource at this address")
    if status == 405:
        # Litestar lists `websocket` among the methods of an address.
        methods = (error.headers or {}).get("allow", "").split(", ")
        return method_not_allowed(allow(method for method in methods if method != "websocket"))
    if status == 413:
        return TooLarge("the body is larger than this address accepts")
    if isinstance(error, ValidationException):
        # The models of `server.wire` check everything else.
        return InvalidArgument({"body": "is missing: it must be a JSON object"})
    if 400 <= status < 500:
        return InvalidArgument({"request": "is malformed"})
    return error


def error_response(error: Exception, *, instance: str, trace_id: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to an error."""
    headers = {"Content-Type": MEDIA_TYPE, **error_headers(error)}
    if isinstance(error, HttpError):
        return error.status, headers, dumps(error.json(instance=instance, trace_id=trace_id))
    body = dumps(problem_json(error, instance=instance, trace_id=trace_id))
    return problem_of(error).http, headers, body


def error_headers(error: Exception) -> Mapping[str, str]:
    """The headers that an error adds to the answer."""
    if isinstance(error, HttpError):
        return error.headers
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, HubError) and error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return headers


def log_internal_error(error: BaseException, *, trace_id: str, path_template: str, dev: bool) -> None:
    """Log an error that is the hub's fault. Its text, which may hold user data, only in development."""
    if not isinstance(error, HttpError) and problem_of(error) is INTERNAL:
        log.error(
            "request_failed",
            fault=type(error).__name__,
            where=place_of(error),
            trace_id=trace_id,
            path=path_template,
            exc_info=error if dev else None,
        )


def place_of(error: BaseException) -> str:
    """The function and line that raised the error."""
    step = error.__traceback__
    if step is None:
        return ""
    while step.tb_next is not None:
        step = step.tb_next
    return f"{step.tb_frame.f_code.co_qualname}:{step.tb_lineno}"


def problem_response(request: Request[Any, Any, Any], error: Exception, *, dev: bool) -> Response[bytes]:
    """The answer to an error that was raised by a route or before it."""
    error = to_hub_error(error)
    if isinstance(error, InvalidArgument) and isinstance(request, HubRequest):
        request.note_refusal()
    trace_id = trace_id_of(request.headers)
    log_internal_error(
        error, trace_id=trace_id, path_template=str(request.scope.get("path_template", "")), dev=dev
    )
    status, headers, body = error_response(error, instance=request.url.path, trace_id=trace_id)
    media_type = headers.pop("Content-Type")
    return Response(body, status_code=status, headers=headers, media_type=media_type)


async def refuse_upgrade(scope: Scope, send: Send, error: Exception, *, trace_id: str) -> None:
    """Answer a WebSocket's upgrade request with a problem (ASGI: websocket.http.response)."""
    status, headers, body = error_response(error, instance=scope["path"], trace_id=trace_id)
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    start: Any = {"type": "websocket.http.response.start", "status": status, "headers": encoded}
    rest: Any = {"type": "websocket.http.response.body", "body": body, "more_body": False}
    await send(start)
    await send(rest)
