"""Reading the hub's answers: their members, the errors for refusals, and why no answer came."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import httpx

#: HTTP statuses of proxies that may be temporary.
TEMPORARY_STATUSES = (429, 502, 503, 504)


class ClientError(Exception):
    """The hub refused a request, or cannot be reached.

    unavailable: a later attempt may succeed, after `retry_after_s` seconds. status: the HTTP status, 0
    without an answer. code: the problem's code, empty when the answer has none. problem: the whole document.
    """

    def __init__(
        self,
        message: str,
        *,
        unavailable: bool = False,
        status: int = 0,
        code: str = "",
        retry_after_s: int = 0,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.problem = problem or {}
        self.unavailable, self.status, self.code = unavailable, status, code
        self.retry_after_s = retry_after_s

    @property
    def may_have_succeeded(self) -> bool:
        """Whether the request may have succeeded, or may still succeed. Not when the runtime failed it."""
        return self.unavailable and not self.code.startswith("runtime_")


def cause_of(error: BaseException) -> str:
    """Why a connection could not be made, in the words of the operating system where it has some."""
    root = error
    while root.__cause__ or root.__context__:
        root = root.__cause__ or root.__context__ or root
        if isinstance(root, OSError) and root.strerror:
            break
    text = root.strerror if isinstance(root, OSError) else None
    return text or type(error).__name__


def member(answer: Mapping[str, Any], name: str) -> Any:
    """A member of the hub's answer. Raises ClientError when another server answered, without it."""
    try:
        return answer[name]
    except KeyError:
        raise ClientError(f"the answer is not the hub's: it has no {name}") from None


def if_match(found: Mapping[str, Any]) -> dict[str, str]:
    """The header that changes a resource only if it is still as the hub answered. Raises ClientError."""
    return {"If-Match": f'"{member(found, "etag")}"'}


def refusal_of(answer: httpx.Response, problem: dict[str, Any], url: str) -> ClientError:
    """The error for an HTTP answer of 400 or above, whose body is a problem document at best."""
    code, retry_after = str(problem.get("code", "")), answer.headers.get("retry-after")
    # An answer without a code comes from a proxy, not from the hub.
    from_proxy = not code and answer.status_code in TEMPORARY_STATUSES
    detail = problem.get("detail") or problem.get("title")
    message = f"{answer.status_code}: {detail}" if detail else f"{url} answers HTTP {answer.status_code}"
    return ClientError(
        message if code or from_proxy else f"{message}; is it the hub's address?",
        unavailable=retry_after is not None or from_proxy,
        status=answer.status_code,
        code=code,
        retry_after_s=int(retry_after) if re.fullmatch("[0-9]{1,6}", retry_after or "") else 0,
        problem=problem,
    )


def json_object(body: bytes | bytearray | str) -> dict[str, Any] | None:
    """The JSON object in a body; None when it holds anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
