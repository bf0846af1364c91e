"""Errors as answers: application/problem+json for the hub's errors, Litestar's and every other.

What is wrong is told by the one table (`server.wire.problems`). Three answers have no error in the
domain, because only HTTP knows them: 405, 426 and the 503 of `/readyz`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Scope, Send
from opentelemetry import trace

from server.domain.errors import HubError, InvalidArgument, NotFound, TooLarge, Unauthenticated
from server.wire.problems import INTERNAL, MEDIA_TYPE, problem_json, problem_of
from server.wire.resources import dumps

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

log = structlog.stdlib.get_logger("server.http")


class HttpError(Exception):
    """A refusal that only HTTP knows."""

    def __init__(
        self, status: int, code: str, title: str, headers: Mapping[str, str], **members: Any
    ) -> None:
        super().__init__(title)
        self.status, self.code, self.title, self.headers = status, code, title, headers
        self.members = members

    def json(self, *, instance: str, trace_id: str) -> dict[str, Any]:
        """The problem details, with the members that every other problem has."""
        return {
            "type": f"/problems/{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.title,
            "instance": instance,
            "code": self.code,
            "trace_id": trace_id,
            "error": HTTPStatus(self.status).phrase,
            **self.members,
        }


def method_not_allowed(allow: str) -> HttpError:
    """405: `allow` names the methods that are."""
    return HttpError(405, "method_not_allowed", "This address does not take this method", {"Allow": allow})


def upgrade_required() -> HttpError:
    """426: the address is a WebSocket's."""
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    return HttpError(426, "upgrade_required", "This address is for WebSockets only", headers)


def not_ready(failing: list[str]) -> HttpError:
    """503: names the checks that fail."""
    headers = {"Retry-After": "1"}
    return HttpError(503, "not_ready", "This replica cannot serve now", headers, failing=failing)


def trace_id_of(headers: Mapping[str, str]) -> str:
    """The trace that the request belongs to, as 32 hex digits: the one that is recorded, else the one that
    the caller named (W3C `traceparent`), else a new one."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        return f"{context.trace_id:032x}"
    match = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return match[1] if match else uuid4().hex


def meant(error: Exception) -> Exception:
    """What an error of Litestar's means in the hub's words; any other error is itself."""
    if not isinstance(error, HTTPException):
        return error
    status = error.status_code
    if status == 404:
        return NotFound("there is nothing at this address")
    if status == 405:
        return method_not_allowed((error.headers or {}).get("allow", ""))
    if status == 413:
        return TooLarge("the body is larger than this address takes")
    if 400 <= status < 500:
        return InvalidArgument({"request": "is malformed"})
    return error


def told(error: Exception, *, instance: str, trace_id: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to an error."""
    headers = {"Content-Type": MEDIA_TYPE}
    if isinstance(error, HttpError):
        headers |= error.headers
        return error.status, headers, dumps(error.json(instance=instance, trace_id=trace_id))
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, HubError) and error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    body = dumps(problem_json(error, instance=instance, trace_id=trace_id))
    return problem_of(error).http, headers, body


def note_fault(error: BaseException, *, trace_id: str, path_template: str, dev: bool) -> None:
    """Log an error that is a fault of the hub; its text only in development, since it may hold content."""
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
    """The function and line that raised."""
    step = error.__traceback__
    if step is None:
        return ""
    while step.tb_next is not None:
        step = step.tb_next
    return f"{step.tb_frame.f_code.co_qualname}:{step.tb_lineno}"


def problem_response(request: Request[Any, Any, Any], error: Exception, *, dev: bool) -> Response[bytes]:
    """The answer to an error of a route, or of the way to it."""
    error = meant(error)
    trace_id = trace_id_of(request.headers)
    note_fault(error, trace_id=trace_id, path_template=str(request.scope.get("path_template", "")), dev=dev)
    status, headers, body = told(error, instance=request.url.path, trace_id=trace_id)
    media_type = headers.pop("Content-Type")
    return Response(body, status_code=status, headers=headers, media_type=media_type)


async def refuse_upgrade(scope: Scope, send: Send, error: Exception, *, trace_id: str) -> None:
    """Answer a WebSocket's upgrade with a problem instead (ASGI: websocket.http.response)."""
    status, headers, body = told(error, instance=scope["path"], trace_id=trace_id)
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    start: Any = {"type": "websocket.http.response.start", "status": status, "headers": encoded}
    rest: Any = {"type": "websocket.http.response.body", "body": body, "more_body": False}
    await send(start)
    await send(rest)
