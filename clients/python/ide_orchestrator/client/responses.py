"""Responses of the HTTP interface: JSON objects, and the errors for problem documents (RFC 9457)."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NoReturn

import httpx

from ide_orchestrator.client.errors import Fault, HubError, NotAuthenticated, Refused, Unavailable, class_of

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

#: Statuses of proxies that may be temporary.
TEMPORARY_STATUSES = (408, 429, 502, 503, 504)
#: Larger than any response of the hub, except streams: the largest is a draft of 64 MiB, whose bytes take at
#: most six characters each in JSON.
MAX_RESPONSE_BYTES = 512 << 20
#: Bytes of JSON that may consist of anything, and what a larger text has at most: those of the hub are large
#: by the texts in them, such as the lines of files. A value takes up to thirty times its bytes.
_ANY_JSON_BYTES, _MAX_TEXTS, _MAX_OTHER_VALUES = 8 << 20, 8_000_000, 1_000_000
#: Seconds until the head of a response has come, and for which its body may not; and the bytes that make up
#: for a second.
HEAD_S, MIN_BYTES_PER_S = 60.0, 16 << 10
#: The longest wait that a server may ask for, in seconds. The hub's own limits count minutes.
MAX_RETRY_AFTER_S = 300


#: Asks for bodies as they are: how large a compressed one becomes shows too late.
PLAIN = {"Accept-Encoding": "identity"}


async def opened(http: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """A response whose body is not read yet.

    Raises Unavailable for a head that does not come to its end: httpx counts only the seconds between two
    bytes. Raises Fault for a body that is compressed.
    """
    url = str(request.url.copy_with(raw_path=b"/")).rstrip("/")
    try:
        async with timeout(HEAD_S):
            response = await http.send(request, stream=True)
    except asyncio.TimeoutError:
        raise Unavailable(f"the hub at {url} does not answer within {HEAD_S:g} s") from None
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        await response.aclose()
        raise Fault(f"{url} does not answer as the hub does: its answer is compressed")
    return response


async def body_of(response: httpx.Response, url: str) -> bytes:
    """The whole body of a response that is not read yet. Raises Fault for one that no hub sends: it might
    never end. Raises Unavailable for one that comes too slowly."""
    body = bytearray()
    async for piece in pieces_of(response, url):
        body += piece
    return bytes(body)


async def pieces_of(response: httpx.Response, url: str) -> AsyncGenerator[bytes, None]:
    """The pieces of the same body. Raises as `body_of`."""
    now = asyncio.get_running_loop().time
    pieces, size = response.aiter_raw(), 0
    # Seconds that the server may let wait: what it brings gives it more. The caller's time does not count.
    left_s = HEAD_S
    while True:
        began = now()
        try:
            async with timeout(left_s):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            await response.aclose()
            raise Unavailable(f"the answer of the hub at {url} comes too slowly") from None
        left_s = min(left_s - (now() - began) + len(piece) / MIN_BYTES_PER_S, HEAD_S)
        size += len(piece)
        if size > MAX_RESPONSE_BYTES:
            await response.aclose()
            raise Fault(f"{url} does not answer as the hub does: its answer does not end")
        yield piece


def json_object(body: bytes | bytearray | str) -> dict[str, Any] | None:
    """The JSON object in a body; None when it holds anything else."""
    try:
        if _is_dense(body):
            return None
        value = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(name: str) -> NoReturn:
    """NaN and Infinity are not JSON."""
    raise ValueError(name)


def _is_dense(body: bytes | bytearray | str) -> bool:
    """Whether a text has more values than the hub sends, which is found without parsing it."""
    if len(body) <= _ANY_JSON_BYTES:
        return False
    text = body.encode(errors="replace") if isinstance(body, str) else body
    # Without escapes a quotation mark begins or ends a text.
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside, texts = re.subn(rb'"[^"]*"?', b"", plain)
    values = sum(outside.count(mark) for mark in (b",", b"[", b"{"))
    return texts > _MAX_TEXTS or values - texts > _MAX_OTHER_VALUES


def retry_after_of(seconds: float) -> float:
    """The wait that a server asks for, as far as a client waits for it."""
    return min(max(seconds, 0), MAX_RETRY_AFTER_S)


def problem_of(status: int, headers: Mapping[str, str], body: bytes | bytearray, url: str) -> HubError:
    """The error for a status of 400 or above, whose body is a problem document at best."""
    problem = json_object(body) or {}
    code = str(problem.get("code", ""))
    given = headers.get("retry-after") or ""
    # More digits are longer than a client waits, too; Python reads some thousand of them.
    retry_after_s = retry_after_of(int(given[:9])) if re.fullmatch("[0-9]+", given) else None
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
