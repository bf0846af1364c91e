"""Responses of the HTTP interface: JSON objects, and the errors for problem documents (RFC 9457)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import httpx

from ide_orchestrator.client.errors import Fault, HubError, NotAuthenticated, Refused, Unavailable, class_of

#: Statuses of proxies that may be temporary.
TEMPORARY_STATUSES = (408, 429, 502, 503, 504)
#: Larger than any response of the hub, except streams: the largest is a draft of 64 MiB, whose bytes take at
#: most six characters each in JSON.
MAX_RESPONSE_BYTES = 512 << 20


async def body_of(response: httpx.Response, url: str) -> bytes:
    """The whole body of a response that is not read yet. Raises Fault for one that no hub sends: it might
    never end."""
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > MAX_RESPONSE_BYTES:
            await response.aclose()
            raise Fault(f"{url} does not answer as the hub does: its answer does not end")
    return bytes(body)


def json_object(body: bytes | bytearray | str) -> dict[str, Any] | None:
    """The JSON object in a body; None when it holds anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def problem_of(status: int, headers: Mapping[str, str], body: bytes | bytearray, url: str) -> HubError:
    """The error for a status of 400 or above, whose body is a problem document at best."""
    problem = json_object(body) or {}
    code = str(problem.get("code", ""))
    given = headers.get("retry-after") or ""
    retry_after_s = int(given) if re.fullmatch("[0-9]{1,6}", given) else None
    detail = problem.get("detail") or problem.get("title")
    # A response without a code comes from a proxy, or from another server.
    from_proxy = not code and status in TEMPORARY_STATUSES
    message = f"{status}: {detail}" if detail else f"{url} answers HTTP {status}"
    return class_of(code, _class_of_status(status), retry_after_s)(
        message if code or from_proxy else f"{message}; is it the hub's address?",
        code=code,
        status=status,
        retry_after_s=retry_after_s,
        trace_id=str(problem.get("trace_id", "")),
        problem=problem,
    )


def _class_of_status(status: int) -> type[HubError]:
    if status in TEMPORARY_STATUSES:
        return Unavailable
    if status == 401:
        return NotAuthenticated
    return Refused if status < 500 else Fault
